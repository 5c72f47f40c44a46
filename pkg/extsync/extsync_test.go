package extsync_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/extsync"
)

func open(t *testing.T, opts ...extsync.Option) *extsync.Client {
	t.Helper()
	c, err := extsync.Connect(t.Context(), stack.URL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestConnectSaysWhatToDo(t *testing.T) {
	empty := natstest.Run(t, natstest.Options{TCP: true})
	for name, tt := range map[string]struct {
		url  string
		opts []extsync.Option
		is   error
		says string
	}{
		"nobody there":    {"nats://user:s3cret@127.0.0.1:1", nil, extsync.ErrAway, "check that the broker runs"},
		"no address":      {"", nil, extsync.ErrURL, "nats://127.0.0.1:4222"},
		"other scheme":    {"http://user:s3cret@127.0.0.1", nil, extsync.ErrURL, "address 1"},
		"bad prefix":      {empty.URL(), []extsync.Option{extsync.WithPrefix("Not A Prefix")}, extsync.ErrName, "prefix"},
		"not provisioned": {empty.URL(), nil, extsync.ErrNotProvisioned, "WithStorage"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := extsync.Connect(t.Context(), tt.url, tt.opts...)
			if err == nil {
				c.Close()
			}
			if !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("error = %v", err)
			}
		})
	}
	c, err := extsync.Connect(t.Context(), empty.URL(), extsync.WithStorage(channels.Storage{}))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestRegister(t *testing.T) {
	plain, admin := open(t), open(t, extsync.WithKinds(kinds.All()))
	name := fmt.Sprintf("registered-%d", time.Now().UnixNano()) // one that is deleted keeps its name
	channel := extsync.HTTP(name, "https://target.example/in")
	if err := plain.Register(t.Context(), channel); !errors.Is(err, extsync.ErrNoKinds) {
		t.Errorf("without kinds: %v", err)
	}
	bad := extsync.HTTP(name, "not a URL")
	if err := admin.Register(t.Context(), bad); !errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), "url") {
		t.Errorf("a bad URL: %v", err)
	}
	registry, err := stack.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var revisions []uint64
	for _, concurrency := range []int{4, 4, 8} { // made, unchanged, changed
		channel.Concurrency = concurrency
		if err := admin.Register(t.Context(), channel); err != nil {
			t.Fatal(err)
		}
		e, err := registry.Get(t.Context(), channel.Name)
		if err != nil || e.Config.Concurrency != concurrency {
			t.Fatalf("%+v, %v", e, err)
		}
		revisions = append(revisions, e.Revision)
	}
	if revisions[0] != revisions[1] || revisions[1] == revisions[2] {
		t.Errorf("revisions %v", revisions)
	}
	changed := channel
	changed.Mode = channels.Every
	if err := admin.Register(t.Context(), changed); !errors.Is(err, channels.ErrImmutable) {
		t.Errorf("another mode: %v", err)
	}
	e, err := registry.Get(t.Context(), channel.Name)
	if err == nil {
		_, err = registry.Delete(t.Context(), channel.Name, e.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := admin.Register(t.Context(), channel); !errors.Is(err, extsync.ErrChannelDeleted) || !strings.Contains(err.Error(), "restore") {
		t.Errorf("a deleted channel: %v", err)
	}
}

// Two processes that start at once register the same channels.
func TestRegisterAtOnce(t *testing.T) {
	const n = 3
	errs := make(chan error, n)
	for i := range n {
		c := open(t, extsync.WithKinds(kinds.All()))
		channel := extsync.HTTP("at_once", "https://target.example/in")
		channel.Concurrency = i + 1
		go func() { errs <- c.Register(context.WithoutCancel(t.Context()), channel) }()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestPushRefusals(t *testing.T) {
	c := open(t)
	with := func(change func(*extsync.Update)) extsync.Update {
		u := update("refused", 2, "second")
		change(&u)
		return u
	}
	if _, err := c.Push(t.Context(), update("refused", 2, "second")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		update extsync.Update
		is     error
	}{
		"older":           {with(func(u *extsync.Update) { u.Version = extsync.Number(1) }), extsync.ErrStale},
		"other content":   {with(func(u *extsync.Update) { u.Payload = []byte(`{}`) }), extsync.ErrConflict},
		"other base":      {with(func(u *extsync.Update) { u.Version, u.Base = extsync.Number(3), extsync.Number(1) }), extsync.ErrConflict},
		"no version":      {with(func(u *extsync.Update) { u.Version = extsync.Number(0) }), extsync.ErrInvalidUpdate},
		"no key":          {with(func(u *extsync.Update) { u.Key = "" }), extsync.ErrInvalidUpdate},
		"unknown channel": {with(func(u *extsync.Update) { u.Channel = "nobody" }), extsync.ErrUnknownChannel},
		"too large": {with(func(u *extsync.Update) {
			u.Version, u.Payload = extsync.Number(3), []byte(`"`+strings.Repeat("x", 2<<20)+`"`)
		}), extsync.ErrTooLarge},
	} {
		if _, err := c.Push(t.Context(), tt.update); !errors.Is(err, tt.is) {
			t.Errorf("%s: %v, want %v", name, err, tt.is)
		}
	}
}

// An update that nobody delivers is stored, and the wait says so.
func TestPushAndWaitEndsWithItsContext(t *testing.T) {
	b := natstest.Run(t, natstest.Options{TCP: true})
	c, err := extsync.Connect(t.Context(), b.URL(), extsync.WithStorage(channels.Storage{}), extsync.WithKinds(kinds.All()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Register(t.Context(), extsync.HTTP("erp_db", "https://target.example/in")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := c.PushAndWait(ctx, update("k", 1, "x")); !errors.Is(err, extsync.ErrNoAck) {
		t.Errorf("error = %v", err)
	}
}

// While the broker is away a push fails at once, and is not sent later.
func TestPushWhileTheBrokerIsAway(t *testing.T) {
	b := natstest.Run(t, natstest.Options{TCP: true})
	c, err := extsync.Connect(t.Context(), b.URL(), extsync.WithStorage(channels.Storage{}), extsync.WithKinds(kinds.All()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Register(t.Context(), extsync.HTTP("erp_db", "https://target.example/in")); err != nil {
		t.Fatal(err)
	}
	b.Stop(t)
	if _, err := c.Push(t.Context(), update("k", 1, "x")); !errors.Is(err, extsync.ErrUnavailable) {
		t.Errorf("error = %v", err)
	}
	b.Start(t)
	for t.Context().Err() == nil { // until the client is back
		receipt, err := c.Push(t.Context(), update("k", 1, "x"))
		if err == nil {
			if receipt.Duplicate {
				t.Error("what was refused was sent later")
			}
			return
		}
		if !errors.Is(err, extsync.ErrUnavailable) {
			t.Fatal(err)
		}
	}
}

func FuzzServers(f *testing.F) {
	for _, s := range []string{"", "a", "nats://u:p@h:4222,tls://b", " , ", "http://x", "nats://u:p/x@h", "a,,b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, urls string) {
		servers, err := extsync.Servers(urls)
		switch {
		case err != nil && (servers != nil || !errors.Is(err, extsync.ErrURL)):
			t.Errorf("%q: %q, %v", urls, servers, err)
		case err == nil && len(servers) == 0:
			t.Errorf("%q: no server and no error", urls)
		}
	})
}

// A call that waits ends with the client, and none is made after it, by an error that no retry
// takes for an outage.
func TestClosedClient(t *testing.T) {
	b := natstest.Run(t, natstest.Options{TCP: true})
	c, err := extsync.Connect(t.Context(), b.URL(), extsync.WithStorage(channels.Storage{}), extsync.WithKinds(kinds.All()))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Register(t.Context(), extsync.HTTP("erp_db", "https://target.example/in")); err != nil { // and no worker
		t.Fatal(err)
	}
	waits := make(chan error, 1)
	go func() {
		_, err := c.PushAndWait(context.WithoutCancel(t.Context()), update("k", 1, "x"))
		waits <- err
	}()
	if _, err := c.Push(t.Context(), update("k", 1, "x")); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := <-waits; !errors.Is(err, extsync.ErrClosed) {
		t.Errorf("the call that waited: %v", err)
	}
	_, pushed := c.Push(t.Context(), update("k", 2, "x"))
	_, asked := c.Outcome(t.Context(), "erp_db", "k", extsync.Number(1))
	for _, err := range []error{pushed, asked} {
		if !errors.Is(err, extsync.ErrClosed) || errors.Is(err, extsync.ErrUnavailable) {
			t.Errorf("after it was closed: %v", err)
		}
	}
}

// What other clients refuse is refused here as well: a target would get what is no JSON.
func TestPushChecksThePayload(t *testing.T) {
	c := open(t)
	for name, u := range map[string]extsync.Update{
		"empty":             {},
		"cut off":           {Payload: []byte(`{nope`)},
		"not UTF-8":         {Payload: []byte("{\"a\":\"\xff\"}")},
		"delete of content": {Op: extsync.Delete, Payload: []byte(`{}`)},
	} {
		u.Channel, u.Key, u.Version = "erp_db", "checked", extsync.Number(1)
		if _, err := c.Push(t.Context(), u); !errors.Is(err, extsync.ErrInvalidUpdate) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.PushAndWait(t.Context(), u); !errors.Is(err, extsync.ErrInvalidUpdate) {
			t.Errorf("%s, and waits: %v", name, err)
		}
	}
}
