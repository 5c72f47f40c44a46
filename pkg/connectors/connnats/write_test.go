package connnats_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/events"
)

// What is written is a key of the bucket for whoever reads it by NATS's own means.
func TestBucketForItsReaders(t *testing.T) {
	d := newTarget(t, "bucket")
	c := d.open(t)
	kv, err := d.js.KeyValue(t.Context(), "things")
	testkit.Must(t, err)
	want(t, apply(t, c, attempt("a/b", 7, `{"a":1}`))[0], connectors.OK, "")
	entry, err := kv.Get(t.Context(), "our.a=2Fb")
	testkit.Must(t, err)
	if string(entry.Value()) != `{"a":1}` {
		t.Errorf("the bucket has %s", entry.Value())
	}
	want(t, apply(t, c, attempt("a/b", 8, ""))[0], connectors.OK, "")
	if _, err := kv.Get(t.Context(), "our.a=2Fb"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("a key that was deleted: %v", err)
	}
	want(t, apply(t, c, attempt("a/b", 7, `{"a":1}`))[0], connectors.Stale, "stale")
}

func TestStreamForItsReaders(t *testing.T) {
	d := newTarget(t, "stream")
	want(t, apply(t, d.open(t), attempt("a/b", 7, `{"a":1}`))[0], connectors.OK, "")
	m := d.last(t, "a/b")
	if m.Subject != "things.our.a=2Fb" || string(m.Data) != `{"a":1}` || m.Header.Get("ce-subject") != "a/b" || m.Header.Get("content-type") != "application/json" {
		t.Errorf("the stream has %s, %v, %s", m.Subject, m.Header, m.Data)
	}
}

func TestWhatThePlatformDidNotWrite(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			d := newTarget(t, mode)
			strict := d.open(t)
			d.config += "adopt: true\n"
			adopting := d.open(t)
			d.put(t, "k", "theirs")
			want(t, apply(t, strict, attempt("k", 1, "{}"))[0], connectors.Conflict, "foreign")
			want(t, apply(t, adopting, attempt("k", 1, "{}"))[0], connectors.OK, "")
			d.put(t, "k", "theirs", "ce-entityversion", "swordfish")
			want(t, apply(t, strict, attempt("k", 2, "{}"))[0], connectors.Conflict, "foreign")
			d.put(t, "k", "theirs", "ce-entityversion", "2026-01-01T00:00:00Z")
			want(t, apply(t, adopting, attempt("k", 2, "{}"))[0], connectors.Conflict, "version-kind")
		})
	}
}

// A key that somebody has deleted by NATS's own means is as if it had never been there.
func TestKeyThatWasDeletedInTheBucket(t *testing.T) {
	d := newTarget(t, "bucket")
	c := d.open(t)
	kv, err := d.js.KeyValue(t.Context(), "things")
	testkit.Must(t, err)
	for _, remove := range []func() error{
		func() error { return kv.Delete(t.Context(), "our.k") },
		func() error { return kv.Purge(t.Context(), "our.k") },
	} {
		a := attempt("k", 7, "{}")
		a.Held = true
		want(t, apply(t, c, a)[0], connectors.OK, "")
		testkit.Must(t, remove())
		held, err := c.Read(t.Context(), []string{"k"})
		if testkit.Must(t, err); !held[0].IsZero() {
			t.Errorf("it is said to hold %v", held)
		}
	}
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.OK, "")
}

func TestReadAndCompare(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			d := newTarget(t, mode)
			c := d.open(t)
			same, changed, gone, old := attempt("same", 1, "{}"), attempt("changed", 1, "{}"), attempt("gone", 2, ""), attempt("old", 2, "{}")
			for _, res := range apply(t, c, same, changed, gone, old) {
				want(t, res, connectors.OK, "")
			}
			d.put(t, "changed", "theirs", "ce-entityversion", "1", "ce-entitydigest", changed.Digest.String(), "ce-op", "upsert")
			d.put(t, "foreign", "theirs")
			old.Version = testkit.Number(9)
			all := []connectors.Attempt{same, changed, gone, old, attempt("foreign", 1, ""), attempt("never", 1, "{}")}
			found, err := c.Compare(t.Context(), all)
			testkit.Must(t, err)
			for i, wanted := range [][]string{nil, {"payload"}, nil, nil, {"payload"}, nil} {
				if !slices.Equal(found[i].Changed, wanted) {
					t.Errorf("%s: %v has changed, want %v", all[i].Key, found[i].Changed, wanted)
				}
			}
			held, err := c.Read(t.Context(), []string{"gone", "foreign", "never", "same"})
			testkit.Must(t, err)
			if held[0].Op != events.Delete || !held[1].IsZero() || !held[2].IsZero() || held[3].Digest != same.Digest {
				t.Errorf("the server is said to hold %v", held)
			}
		})
	}
}

func TestPreviewSendsNothing(t *testing.T) {
	c := openWith(t, connectors.Host{}.Env(connectortest.Channel).ForPreview("***"), []byte("servers: ['tls://nats.example']\ncredentials: ${env:X}\nmode: bucket\nbucket: things\n"))
	p, err := c.Preview(t.Context(), attempt("k", 7, `{"a":1}`))
	testkit.Must(t, err)
	if p.URL != "$KV.things.k" || p.Headers["ce-entityversion"] != "7" || string(p.Body) != `{"a":1}` {
		t.Errorf("the preview is %+v", p)
	}
	want(t, c.Apply(t.Context(), []connectors.Attempt{attempt("k", 7, "{}")})[0], connectors.Misconfigured, "address_denied")
}

// A call that is cancelled ends, whatever the server does.
func TestCancelledCallEnds(t *testing.T) {
	d := newTarget(t, "bucket")
	c := d.open(t)
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.OK, "")
	d.proxy.Freeze()
	for _, connector := range []*connectors.Opened{c, d.open(t)} { // one is connected, the other has to be
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan connectors.Result, 1)
		go func() {
			done <- connector.Apply(ctx, []connectors.Attempt{attempt("k", 2, strings.Repeat("x", 1<<16))})[0]
		}()
		cancel()
		select {
		case res := <-done:
			want(t, res, connectors.Transient, "canceled")
		case <-time.After(testkit.Patience):
			t.Fatal("the call goes on")
		}
	}
	d.proxy.Heal()
	want(t, apply(t, c, attempt("k", 3, "{}"))[0], connectors.OK, "")
}
