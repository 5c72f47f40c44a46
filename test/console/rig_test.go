package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/local"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A rig is an installation in this process: broker, worker, HTTP API and console.
type rig struct {
	t      testing.TB
	stack  *local.Stack
	pub    *publish.Publisher
	cfg    config.Config
	key    *tokens.AdminKey // nil: no token is asked for
	url    string           // of the HTTP API
	dir    string           // in which channels may keep databases
	shelf  *shelf           // a target
	secure bool
	token  string // of the test itself
	listen string // where the API is served
}

// withTokens has the API ask for tokens.
func withTokens(r *rig) { r.secure = true }

// newRig starts an installation that ends with the test.
func newRig(t testing.TB, options ...func(*rig)) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), cfg: config.Default(), shelf: newShelf(t), listen: "127.0.0.1:0"}
	for _, o := range options {
		o(r)
	}
	r.cfg.HTTP.Listen = r.listen
	r.cfg.Worker.LeaseTTL = connectors.Duration(2 * time.Second)
	if r.secure {
		r.makeKey()
	}
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	var err error
	r.stack, err = local.Start(ctx, local.Options{Dir: filepath.Join(r.dir, "broker"), Config: r.cfg, Databases: r.dir})
	r.must(err)
	t.Cleanup(func() { r.noError(r.stack.Close()) })
	r.pub, err = r.stack.Publisher(ctx)
	r.must(err)
	if r.secure {
		_, r.token, err = r.issuer().Create(ctx, tokens.Token{Name: "test", Scopes: []tokens.Scope{tokens.Read}})
		r.must(err)
	}
	r.serve()
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	testkit.Must(r.t, err)
}

func (r *rig) noError(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Error(err)
	}
}

// serve starts the HTTP API.
func (r *rig) serve() {
	r.t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- app.Serve(ctx, r.stack.Client, app.PublisherOptions{
			Config: r.cfg, Logger: zerolog.Nop(), Version: "0.0.0-test", Ready: func(url string) { ready <- url },
		})
	}()
	select {
	case r.url = <-ready:
	case err := <-ended:
		stop()
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		stop()
		r.noError(<-ended)
	})
}

func (r *rig) makeKey() {
	r.t.Helper()
	file := filepath.Join(r.dir, "admin.key")
	r.cfg.HTTP.TokenKeysFile = file + ".pub"
	_, err := tokens.MakeKey(file, file+".pub")
	r.must(err)
	r.key, err = tokens.ReadAdminKey(file)
	r.must(err)
}

// issuer makes and revokes tokens.
func (r *rig) issuer() *tokens.Issuer {
	r.t.Helper()
	issuer, err := tokens.OpenIssuer(r.t.Context(), r.stack.JS, r.stack.Names, r.key)
	r.must(err)
	return issuer
}

// tab opens the console at a page of it.
func (r *rig) tab(v view, hash string) *tab {
	r.t.Helper()
	p := newTab(r.t, v)
	p.url = r.url + "/console/"
	if hash != nowhere {
		p.goTo(hash)
	}
	return p
}

// nowhere has the tab stay empty.
const nowhere = "nowhere"

// apply makes channels and topics.
func (r *rig) apply(f channels.File) {
	r.t.Helper()
	_, err := r.stack.Apply(r.t.Context(), f, false)
	r.must(err)
}

// channel makes one channel to a target.
func (r *rig) channel(name, kind string, connector map[string]any, change ...func(*channels.Config)) {
	r.t.Helper()
	r.apply(channels.File{Channels: []channels.Config{channelOf(name, kind, connector, change...)}})
}

// channelOf is a channel whose retries are quick.
func channelOf(name, kind string, connector map[string]any, change ...func(*channels.Config)) channels.Config {
	c := channels.Config{
		Name: name, MaxBytes: 16 << 20, Connector: channels.Connector{Kind: kind, Config: channels.NewRaw(connector)},
		Retry: channels.Retry{InitialBackoff: connectors.Duration(20 * time.Millisecond), MaxBackoff: connectors.Duration(500 * time.Millisecond)},
	}
	for _, ch := range change {
		ch(&c)
	}
	return c.WithDefaults()
}

// sqlite is a connector that writes a table of the test's database.
func (r *rig) sqlite(table string) map[string]any {
	return map[string]any{"dialect": "sqlite", "dsn": filepath.Join(r.dir, "erp.db"), "table": table, "auto_create": true}
}

// publish publishes one version of a key of a channel. payload is a JSON document, or
// anything that can be written as one.
func (r *rig) publish(channel, key, version string, payload any) {
	r.t.Helper()
	r.put(events.Update{Channel: channel, Key: key, Version: testkit.Version(r.t, version), Payload: document(r.t, payload)})
}

func (r *rig) put(u events.Update) {
	r.t.Helper()
	_, err := r.pub.Publish(r.t.Context(), u)
	r.must(err)
}

func document(t testing.TB, payload any) []byte {
	t.Helper()
	if raw, ok := payload.(string); ok {
		return []byte(raw)
	}
	data, err := json.Marshal(payload)
	testkit.Must(t, err)
	return data
}

// state waits until a version is the newest of a key that a channel knows and has come so
// far: delivered, filtered, dead_lettered, retrying, parked, ...
func (r *rig) state(channel, key, version, state string) {
	r.t.Helper()
	last := ""
	defer func() {
		if r.t.Failed() {
			r.t.Log("it was last seen as ", last)
		}
	}()
	testkit.Eventually(r.t, fmt.Sprintf("%s: %s version %s to be %s", channel, key, version, state), func() bool {
		found, err := r.stack.Find(r.t.Context(), key, channel)
		r.must(err)
		if len(found) == 1 {
			last = fmt.Sprintf("%s version %s, %+v", found[0].State, found[0].Newest.Version, found[0].Why)
		}
		return len(found) == 1 && found[0].Newest.Version.String() == version && found[0].State == state
	})
}

// get asks the HTTP API and decodes its answer.
func (r *rig) get(path string, into any) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.url+path, http.NoBody)
	r.must(err)
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	answer, err := http.DefaultClient.Do(req)
	r.must(err)
	defer func() { _ = answer.Body.Close() }() // read to its end
	if answer.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s: %s", path, answer.Status)
	}
	r.must(json.NewDecoder(answer.Body).Decode(into))
}

// eventually waits until the overview's row of a channel is as expected.
func (r *rig) eventually(channel, what string, holds func(row) bool) {
	r.t.Helper()
	var last row
	defer func() {
		if r.t.Failed() {
			r.t.Logf("it was last seen as %+v", last)
		}
	}()
	testkit.Eventually(r.t, "channel "+channel+" to be "+what, func() bool {
		last = r.row(channel)
		return last.Channel != "" && holds(last)
	})
}

// row returns what the first page of the overview tells of a channel; the zero row: nothing.
func (r *rig) row(channel string) row {
	r.t.Helper()
	var page struct{ Channels []row }
	r.get("/v1/overview?limit=200", &page)
	for _, c := range page.Channels {
		if c.Channel == channel {
			return c
		}
	}
	return row{}
}

// A row is what the overview tells of a channel.
type row struct {
	Channel, Health, State  string
	Undelivered, Dead, Keys int
	NotNewest               int `json:"not_newest"`
}
