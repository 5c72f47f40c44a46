package tokens

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// Somebody fills the bucket with records that count for nothing. A publisher that could not
// read all of them in the time of one look began at the same place for ever, and heard of no
// revocation.
func TestRevocationBehindManyForeignRecordsIsHeard(t *testing.T) {
	b := natstest.Run(t)
	names := events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), b.JS, names, channels.Storage{}))
	file := filepath.Join(t.TempDir(), "admin.key")
	_, err := MakeKey(file, file+".pub")
	testkit.Must(t, err)
	key, err := ReadAdminKey(file)
	testkit.Must(t, err)
	issuer, err := OpenIssuer(t.Context(), b.JS, names, key)
	testkit.Must(t, err)
	tok, _, err := issuer.Create(t.Context(), Token{Name: "n", Scopes: []Scope{Read}})
	testkit.Must(t, err)
	store, err := Open(t.Context(), b.JS, names, key.Keys)
	testkit.Must(t, err)
	c, err := NewCache(t.Context(), store)
	testkit.Must(t, err)
	for n := range 3000 {
		testkit.Must(t, b.Conn.Publish(wire.KVSubject(wire.TokensBucket(names), fmt.Sprint("x.", n)), nil))
	}
	testkit.Must(t, b.Conn.Flush())
	testkit.Must(t, issuer.Revoke(t.Context(), tok.ID, false))
	looks := 0
	testkit.Eventually(t, "the revocation to be heard", func() bool {
		looks++
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // for a part of them
		defer cancel()
		_ = c.load(ctx) // it goes on where it was
		return !c.Valid(tok.ID)
	})
	t.Logf("%d looks", looks)
}
