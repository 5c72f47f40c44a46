package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// A rig is a broker, a worker, a target, and the API.
type rig struct {
	t      testing.TB
	broker *natstest.Broker
	client *operate.Client
	cfg    config.Config
	target *target
	url    string
	key    *tokens.AdminKey
	stop   context.CancelFunc
	ended  chan error
	routes routers.Router
	doc    *openapi3.T
}

// target is an HTTP service that takes every update when it is let.
type target struct {
	*httptest.Server
	calls atomic.Int64
	mu    sync.Mutex
	gate  chan struct{} // closed: calls are answered
	fail  atomic.Int64  // status of failures; 0: none
}

func newTarget(t testing.TB) *target {
	t.Helper()
	tg := &target{gate: make(chan struct{})}
	close(tg.gate)
	tg.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tg.calls.Add(1)
		_, _ = io.Copy(io.Discard, r.Body) // the content does not matter
		tg.mu.Lock()
		gate := tg.gate
		tg.mu.Unlock()
		select {
		case <-gate:
		case <-r.Context().Done():
		}
		if code := tg.fail.Load(); code != 0 {
			w.WriteHeader(int(code))
		}
	}))
	t.Cleanup(tg.Close)
	return tg
}

// hold makes calls wait until the returned function is called.
func (tg *target) hold() (release func()) {
	gate := make(chan struct{})
	tg.mu.Lock()
	tg.gate = gate
	tg.mu.Unlock()
	return sync.OnceFunc(func() { close(gate) })
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, broker: natstest.Run(t, natstest.Options{TCP: true}), target: newTarget(t)}
	r.cfg = config.Default()
	r.cfg.NATS.URL = r.broker.URL()
	r.cfg.HTTP.Listen = "127.0.0.1:0"
	r.cfg.Allow.Networks = connectors.List{"127.0.0.0/8"}
	r.cfg.Worker.LeaseTTL = connectors.Duration(2 * time.Second)
	var err error
	r.client, err = operate.Connect(t.Context(), r.cfg, quiet())
	r.must(err)
	t.Cleanup(r.client.Close)
	_, err = r.client.Apply(t.Context(), channels.File{Channels: []channels.Config{r.channel("erp"), r.channel("portal")}}, false)
	r.must(err)
	return r
}

func quiet() zerolog.Logger { return zerolog.New(os.Stderr).Level(zerolog.ErrorLevel) }

func (r *rig) channel(name string) channels.Config {
	return channels.Config{
		Name: name, Concurrency: 64, MaxBytes: 16 << 20,
		Retry: channels.Retry{InitialBackoff: connectors.Duration(20 * time.Millisecond), MaxBackoff: connectors.Duration(time.Second)},
		Connector: channels.Connector{Kind: "http", Config: channels.NewRaw(map[string]any{
			"url": r.target.URL, "allow_cidrs": []string{"127.0.0.0/8"},
		})},
	}.WithDefaults()
}

// serve starts the API.
func (r *rig) serve() *rig {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan string, 1)
	r.stop, r.ended = cancel, make(chan error, 1)
	go func() {
		r.ended <- app.Serve(ctx, r.client, app.PublisherOptions{Config: r.cfg, Logger: quiet(), Version: "test", Ready: func(url string) { ready <- url }})
	}()
	r.t.Cleanup(cancel)
	select {
	case r.url = <-ready:
	case err := <-r.ended:
		r.t.Fatal(err)
	}
	resp, data := r.do(r.request(http.MethodGet, "/openapi.json", ""))
	if resp.StatusCode != http.StatusOK {
		r.t.Fatal(resp.Status)
	}
	var err error
	r.doc, err = openapi3.NewLoader().LoadFromData([]byte(data))
	r.must(err)
	r.doc.Servers = openapi3.Servers{{URL: r.url}}
	r.routes, err = gorillamux.NewRouter(r.doc)
	r.must(err)
	return r
}

// work starts a worker.
func (r *rig) work() *rig {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Deliver(ctx, r.client, app.WorkerOptions{Config: r.cfg, Logger: quiet()}) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	testkit.Must(r.t, err)
}

// asking makes the API ask for tokens.
func (r *rig) asking() *rig {
	r.t.Helper()
	file := filepath.Join(r.t.TempDir(), "admin.key")
	r.cfg.HTTP.TokenKeysFile = file + ".pub"
	_, err := tokens.MakeKey(file, r.cfg.HTTP.TokenKeysFile)
	r.must(err)
	r.key, err = tokens.ReadAdminKey(file)
	r.must(err)
	return r
}

func (r *rig) issuer() *tokens.Issuer {
	r.t.Helper()
	issuer, err := tokens.OpenIssuer(r.t.Context(), r.client.JS, r.client.Names, r.key)
	r.must(err)
	return issuer
}

// token makes a token.
func (r *rig) token(scope tokens.Scope, names ...string) string {
	r.t.Helper()
	_, text, err := r.issuer().Create(r.t.Context(), tokens.Token{Name: "test", Scopes: []tokens.Scope{scope}, Channels: names})
	r.must(err)
	return text
}

func (r *rig) request(method, path, body string, headers ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	r.must(err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return req
}

// An answer is what is left of one whose body was read.
type answer struct {
	StatusCode int
	Status     string
	Header     http.Header
}

// do makes a request, and checks the answer against the description.
func (r *rig) do(req *http.Request) (answer, string) {
	r.t.Helper()
	resp, err := http.DefaultClient.Do(req)
	r.must(err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	r.must(err)
	r.conforms(req, resp, data)
	return answer{resp.StatusCode, resp.Status, resp.Header}, string(data)
}

func (r *rig) conforms(req *http.Request, resp *http.Response, data []byte) {
	r.t.Helper()
	if r.routes == nil {
		return
	}
	route, params, err := r.routes.FindRoute(req)
	if err != nil {
		return // of a route that is not described there is nothing to check
	}
	options := &openapi3filter.Options{IncludeResponseStatus: true}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: req, PathParams: params, Route: route, Options: options},
		Status:                 resp.StatusCode, Header: resp.Header, Options: options,
	}
	input.SetBodyBytes(data)
	if err := openapi3filter.ValidateResponse(r.t.Context(), input); err != nil {
		r.t.Errorf("%s %s: the answer is not as described: %v\n%s", req.Method, req.URL.Path, err, data)
	}
}

// call makes a request that must have this status, and returns its body.
func (r *rig) call(status int, method, path, body string, headers ...string) map[string]any {
	r.t.Helper()
	resp, data := r.do(r.request(method, path, body, headers...))
	if resp.StatusCode != status {
		r.t.Fatalf("%s %s: %s, want %d\n%s", method, path, resp.Status, status, data)
	}
	var out map[string]any
	if len(data) > 0 && data[0] == '{' {
		dec := json.NewDecoder(bytes.NewReader([]byte(data)))
		r.must(dec.Decode(&out))
	}
	return out
}

// eventually asks until it holds.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	testkit.Eventually(r.t, what, holds)
}

// at returns what is at a path of a document.
func at(doc any, path ...string) any {
	v := doc
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[name]
	}
	return v
}
