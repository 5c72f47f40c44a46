package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A broker that is killed forgets deletions (docs/adr/0032): nothing that was reset,
// revoked or removed may count again (dead letters: pkg/deadletters). What a lifetime brings back needs a kill
// two minutes and a half after the deletion, which is the full form.
func TestWhatAKilledBrokerForgetsToDelete(t *testing.T) {
	t.Parallel()
	wait := time.Duration(sized(t, "seconds", 0, 150)) * time.Second
	ctx := t.Context()
	crew := faults.NewCrew(t)
	server := faults.StartServer(t, crew, natsServer(t))
	r := newRigAt(t, crew, server.URL, 1)
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{Seed: 32})
	for _, name := range []string{"kept", "swept"} {
		r.channel(name, channels.Latest, "http", tg.Connector())
	}
	r.worker("w0")
	push := func(channel, key string, v int64) error {
		u := events.Update{Channel: channel, Key: key, Version: versioning.Must(versioning.Number(v)), Payload: fmt.Appendf(nil, `{"v":%d}`, v)}
		_, err := r.pub.Publish(ctx, u)
		return err
	}
	settled := func(channel, key string, v int64) {
		testkit.Eventually(t, fmt.Sprintf("version %d of %s in %s to be settled", v, key, channel), func() bool {
			_, err := r.pub.Outcome(ctx, channel, key, versioning.Tag{Version: versioning.Must(versioning.Number(v))})
			return err == nil
		})
	}
	for v := int64(95); v <= 100; v++ { // each in the ledger before the next
		for _, channel := range []string{"kept", "swept"} {
			r.must(push(channel, "k", v))
			settled(channel, "k", v)
		}
	}
	key, err := tokens.ReadAdminKey(adminKey(t))
	r.must(err)
	issuer, err := tokens.OpenIssuer(ctx, r.js, r.names, key)
	r.must(err)
	token, text, err := issuer.Create(ctx, tokens.Token{Name: "revoked", Scopes: []tokens.Scope{tokens.Read}})
	r.must(err)

	// All of it ends.
	r.must(r.registry.ResetKey(ctx, "kept", "k"))
	r.stopWorkers()
	e, err := r.registry.Get(ctx, "swept")
	r.must(err)
	_, err = r.registry.Delete(ctx, "swept", e.Revision)
	r.must(err)
	_, err = r.registry.Sweep(ctx, time.Now().Add(channels.DeletedRetention+time.Minute))
	r.must(err)
	r.must(issuer.Revoke(ctx, token.ID, false))

	for until := time.Now().Add(wait); ; { // something is written until the end
		r.must(push("kept", "other", time.Now().UnixNano()))
		if time.Now().After(until) {
			break
		}
		r.pass(time.Second)
	}
	for range 2 { // the second may bring back what is older still
		server.Kill()
		server.Start(t)
	}
	testkit.Eventually(t, "the broker to answer", func() bool { _, err := r.registry.Get(ctx, "kept"); return err == nil })

	cache, err := tokens.NewCache(ctx, issuer.Store)
	r.must(err)
	if _, _, err := cache.Authenticate(ctx, text); !errors.Is(err, tokens.ErrNotFound) {
		t.Errorf("the revoked token: %v", err)
	}
	if _, err := r.registry.Get(ctx, "swept"); !errors.Is(err, channels.ErrNotFound) {
		t.Errorf("the removed channel: %v", err)
	}
	r.channel("swept", channels.Latest, "http", tg.Connector())
	// A client remembers a channel's id for some seconds: only a test sweeps so soon.
	r.pub, err = publish.New(ctx, r.js, r.names)
	r.must(err)
	for _, channel := range []string{"kept", "swept"} {
		if err := push(channel, "k", 1); err != nil {
			t.Errorf("the first version of k in %s: %v", channel, err)
		}
	}
	r.worker("w1")
	for _, channel := range []string{"kept", "swept"} {
		settled(channel, "k", 1)
		r.must(push(channel, "k", 2))
		settled(channel, "k", 2)
	}
}
