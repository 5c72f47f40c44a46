package connnats_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connnats"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A target is a bucket or a stream of a broker, with a proxy before it.
type target struct {
	js      jetstream.JetStream
	proxy   *faults.Proxy
	bucket  bool
	stream  string
	subject string // before a key
	config  string
}

// modes are both that keep keys.
func modes() []string { return []string{"bucket", "stream"} }

func newTarget(t testing.TB, mode string) *target {
	t.Helper()
	b := natstest.Run(t, natstest.Options{TCP: true})
	return targetAt(t, mode, b.JS, strings.TrimPrefix(b.URL(), "nats://"))
}

// targetAt makes the bucket or stream at a server.
func targetAt(t testing.TB, mode string, js jetstream.JetStream, address string) *target {
	t.Helper()
	d := &target{js: js, proxy: faults.NewProxy(t, address), bucket: mode == "bucket"}
	if d.bucket {
		_, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "things"})
		testkit.Must(t, err)
		d.stream, d.subject, d.config = "KV_things", "$KV.things.our.", "mode: bucket\nbucket: things\nkey_prefix: our.\n"
	} else {
		_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "THINGS", Subjects: []string{"things.>"}, MaxMsgsPerSubject: 1})
		testkit.Must(t, err)
		d.stream, d.subject, d.config = "THINGS", "things.our.", "mode: stream\nstream: THINGS\nsubject: things.our\n"
	}
	return d
}

func (d *target) lines() []byte {
	return fmt.Appendf(nil, "servers: ['nats://%s']\nallow_cidrs: [127.0.0.0/8]\n%s", d.proxy.Addr(), d.config)
}

func (d *target) open(t testing.TB) *connectors.Opened {
	t.Helper()
	return openWith(t, connectortest.Env(nil), d.lines())
}

// openWith opens a connector that is closed with the test.
func openWith(t testing.TB, env connectors.Env, config []byte) *connectors.Opened {
	t.Helper()
	c, err := connectors.Open(t.Context(), connnats.Kind(), env, config)
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, c.Close(context.WithoutCancel(t.Context()))) })
	return c
}

// last returns the last message of a key, nil if there is none.
func (d *target) last(t testing.TB, key string) *jetstream.RawStreamMsg {
	t.Helper()
	stream, err := d.js.Stream(t.Context(), d.stream)
	if err != nil {
		t.Errorf("reading %q: %v", key, err)
		return nil
	}
	m, err := stream.GetLastMsgForSubject(t.Context(), d.subject+testkit.EncodeKey(t, key))
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("reading %q: %v", key, err)
	}
	return m
}

// held reads what is there of keys.
func (d *target) held(t testing.TB, keys ...string) map[string]connectors.Held {
	t.Helper()
	out := map[string]connectors.Held{}
	for _, key := range keys {
		m := d.last(t, key)
		if m == nil {
			continue
		}
		h := connectors.Held{Op: events.Op(m.Header.Get("ce-op"))}
		var err error
		h.Version, err = versioning.Parse(m.Header.Get("ce-entityversion"))
		if err := errors.Join(err, h.Digest.UnmarshalText([]byte(m.Header.Get("ce-entitydigest")))); err != nil {
			t.Errorf("reading %q: %v", key, err)
		}
		out[key] = h
	}
	return out
}

// put writes a message that is not the platform's.
func (d *target) put(t testing.TB, key, payload string, header ...string) {
	t.Helper()
	m := nats.NewMsg(d.subject + testkit.EncodeKey(t, key))
	m.Data = []byte(payload)
	for i := 0; i < len(header); i += 2 {
		m.Header.Set(header[i], header[i+1])
	}
	_, err := d.js.PublishMsg(t.Context(), m)
	testkit.Must(t, err)
}

// attempt returns an attempt to write a JSON payload; an empty one is a delete.
func attempt(key string, version int64, payload string) connectors.Attempt {
	u := events.Update{Channel: connectortest.Channel, Key: key, Version: testkit.Number(version), Payload: []byte(payload)}
	if payload == "" {
		u.Op = events.Delete
	}
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

func apply(t testing.TB, c *connectors.Opened, attempts ...connectors.Attempt) []connectors.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	out := make([]connectors.Result, 0, len(attempts))
	for size := c.MaxBatch(); len(attempts) > 0; {
		n := min(size, len(attempts))
		out = append(out, c.Apply(ctx, attempts[:n])...)
		attempts = attempts[n:]
	}
	return out
}

func want(t testing.TB, res connectors.Result, class connectors.Class, code string) {
	t.Helper()
	if res.Class != class || code != "" && res.Code != code {
		t.Errorf("class %s, code %q (%v); want class %s, code %q", res.Class, res.Code, res.Err, class, code)
	}
}
