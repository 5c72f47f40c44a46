package connsql_test

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestAppendKeepsEveryVersion(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		c := d.openHere(t, "mode: append\nauto_create: true\ntable: history\n")
		if err := c.(connectors.Prober).Probe(t.Context()); err != nil {
			t.Errorf("Probe without a table: %v", err)
		}
		for _, version := range []int64{1, 3} {
			for _, res := range apply(t, c, attempt("k", version, `{"a":1}`), attempt("other", version, `{"a":2}`)) {
				want(t, res, connectors.OK, "")
			}
		}
		gone := attempt("k", 4, "")
		want(t, apply(t, c, gone)[0], connectors.OK, "")
		if n := d.count(t, "SELECT count(*) FROM history WHERE NOT out_of_order"); n != 5 {
			t.Errorf("%d rows in order, want 5", n)
		}

		late := attempt("k", 2, `{"a":3}`)
		late.Again = true
		want(t, apply(t, c, late)[0], connectors.OK, "")
		if n := d.count(t, "SELECT count(*) FROM history WHERE out_of_order AND version = 2"); n != 1 {
			t.Error("a replay behind a newer version is not marked")
		}

		for _, res := range apply(t, c, late, attempt("other", 3, `{"a":2}`)) { // both are there
			want(t, res, connectors.OK, "")
		}
		want(t, apply(t, c, attempt("k", 3, `{"a":9}`))[0], connectors.Conflict, "conflict")
		if n := d.count(t, "SELECT count(*) FROM history"); n != 6 {
			t.Errorf("%d rows, want 6", n)
		}

		held, err := c.(connectors.Reader).Read(t.Context(), []string{"none", "k", "other"})
		if err != nil {
			t.Fatal(err)
		}
		if !held[0].IsZero() || held[1].Tag != (versioning.Tag{Version: gone.Version, Digest: gone.Digest}) || held[2].Version.String() != "3" {
			t.Errorf("Read gave %+v, want the newest of each key", held)
		}
		if err := c.(connectors.Prober).Probe(t.Context()); err != nil {
			t.Errorf("Probe: %v", err)
		}
	})
}

func TestAppendOfTimes(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		c := d.openHere(t, "mode: append\nauto_create: true\ntable: history\ncontent: text\n")
		at := time.Date(2026, 3, 1, 0, 0, 0, 1, time.UTC)
		a, b := attempt("k", 1, "a"), attempt("k", 1, "b")
		a.Version, b.Version = versioning.Must(versioning.Time(at)), versioning.Must(versioning.Time(at.Add(1)))
		want(t, apply(t, c, b)[0], connectors.OK, "")
		want(t, apply(t, c, a)[0], connectors.OK, "")
		if n := d.count(t, "SELECT count(*) FROM history WHERE out_of_order AND version_nanos = 1"); n != 1 {
			t.Error("the one that is a nanosecond older is not marked")
		}
	})
}
