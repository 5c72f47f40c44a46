// Package wiretest makes what the outcome log holds, for tests.
package wiretest

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Noon is when version 0 of a key was settled; each further version a second later.
func Noon() time.Time { return time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC) }

// Place returns a place in the outcome log.
func Place(seq uint64) wire.LogPosition {
	return wire.LogPosition{Incarnation: 0x692a1b2c00000001, Seq: seq}
}

// Entry returns what the log holds of a version of key k: Entry(t, "7a", events.Delivered).
func Entry(t testing.TB, s string, outcome events.Outcome) wire.Entry {
	t.Helper()
	at := testkit.Tag(t, s)
	n, _ := at.Version.Int64()
	e := wire.Entry{Key: "k", Op: events.Upsert, Settlement: events.Settlement{
		Version: at.Version, Digest: at.Digest, ID: "id-" + s, Outcome: outcome, At: Noon().Add(time.Duration(n) * time.Second),
	}}
	if outcome == wire.Retrying || outcome == wire.Parked {
		e.Attempts, e.NextAttempt, e.Class, e.Code, e.Message = 3, Noon().Add(time.Hour), "transient", "503", "unavailable"
	}
	return e
}
