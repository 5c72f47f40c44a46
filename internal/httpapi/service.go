package httpapi

import (
	"bytes"
	"context"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Check is one thing that the publisher needs.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Detail says what is wrong, if there is more to say than the name does.
	Detail string `json:"detail,omitempty"`
}

// Readiness says whether this instance can do its work.
type Readiness struct {
	Ready  bool    `json:"ready"`
	Checks []Check `json:"checks"`
}

type readinessOutput struct {
	Status int
	Body   Readiness
}

type healthOutput struct {
	Body struct {
		OK bool `json:"ok"`
	}
}

// readiness keeps an answer for a moment: anybody may ask.
type readiness struct {
	mu   sync.Mutex
	at   time.Time
	last Readiness
}

const (
	readyFor     = time.Second
	readyTimeout = 3 * time.Second
	// stuckAfter is how old what we know of channels may be: older, and this
	// instance makes no progress.
	stuckAfter = 4 * refresh
)

func (s *server) serviceRoutes() {
	register(s, route{
		id: "health", method: http.MethodGet, path: "/healthz", tag: "Service",
		summary: "Is the process alive?", rule: public, status: http.StatusOK,
	}, func(context.Context, *struct{}) (*healthOutput, error) {
		out := &healthOutput{}
		out.Body.OK = true
		return out, nil
	})
	register(s, route{
		id: "readiness", method: http.MethodGet, path: "/readyz", tag: "Service",
		summary: "Can this instance do its work?", rule: public, status: http.StatusOK, also: []int{http.StatusServiceUnavailable},
	}, func(ctx context.Context, _ *struct{}) (*readinessOutput, error) {
		out := &readinessOutput{Status: http.StatusOK, Body: s.readiness(ctx)}
		if !out.Body.Ready {
			out.Status = http.StatusServiceUnavailable
		}
		return out, nil
	})
	s.raw("openapi", "/openapi.json", "This description", public, "application/openapi+json", http.HandlerFunc(s.serveOpenAPI))
	s.raw("docs", "/docs", "This description, for people", public, "text/html", http.HandlerFunc(s.serveDocs))
	if s.o.Metrics != nil {
		s.raw("metrics", "/metrics", "Metrics for Prometheus: all, or those of the channels and topics that the token is for", read, "text/plain", http.HandlerFunc(s.serveMetrics))
	}
}

// raw adds a route that writes its answer itself.
func (s *server) raw(id, path, summary string, rule rule, contentType string, h http.Handler) {
	register(s, route{
		id: id, method: http.MethodGet, path: path, tag: "Service", summary: summary, rule: rule, status: http.StatusOK,
		responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{contentType: {}}}},
	}, func(context.Context, *struct{}) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			r, w := humago.Unwrap(ctx)
			h.ServeHTTP(w, r.WithContext(ctx.Context())) // which knows the caller
		}}, nil
	})
}

// serveMetrics shows a token that is limited to channels and topics the metrics of these,
// and nothing of the process. A topic is its route in the label of the channel.
func (s *server) serveMetrics(w http.ResponseWriter, r *http.Request) {
	var allows func(string) bool
	if c := callerOf(r.Context()); c.limited() {
		allows = func(id string) bool {
			if topic, ok := strings.CutPrefix(id, events.ToTopic("").ID()); ok {
				return c.allowsTopic(topic)
			}
			return c.allows(id)
		}
	}
	s.o.Metrics(allows).ServeHTTP(w, r)
}

func (s *server) readiness(ctx context.Context) Readiness {
	s.ready.mu.Lock()
	defer s.ready.mu.Unlock()
	if time.Since(s.ready.at) < readyFor && s.o.Draining.Err() == nil {
		return s.ready.last
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	names := s.o.Client.Names
	checks := []Check{
		{Name: "running", OK: s.o.Draining.Err() == nil},
		{Name: "broker", OK: s.o.Client.JS.Conn().IsConnected()},
		{Name: "streams", OK: s.haveStreams(ctx, wire.OutcomeStream(names), wire.AckStream(names), wire.AuditStream(names), wire.DeadStream(names), wire.ParkedStream(names),
			wire.KVStream(wire.RegistryBucket(names)), wire.KVStream(wire.LedgerBucket(names)), wire.KVStream(wire.ProgressBucket(names)))},
		{Name: "progress", OK: s.channels.age() < stuckAfter},
	}
	// After the others: they may be refused something themselves.
	permissions := Check{Name: "permissions", OK: true}
	if err := s.o.Client.Refusals.Err(); err != nil {
		permissions.OK, permissions.Detail = false, err.Error()
	}
	checks = append(checks, permissions)
	s.ready.at = time.Now()
	s.ready.last = Readiness{Ready: !slices.ContainsFunc(checks, func(c Check) bool { return !c.OK }), Checks: checks}
	return s.ready.last
}

func (s *server) haveStreams(ctx context.Context, streams ...string) bool {
	for _, name := range streams {
		if _, err := s.o.Client.JS.Stream(ctx, name); err != nil {
			return false
		}
	}
	return true
}

func (s *server) serveOpenAPI(w http.ResponseWriter, _ *http.Request) {
	data, err := s.api.OpenAPI().MarshalJSON()
	if err != nil {
		s.problemOf(err).write(w)
		return
	}
	w.Header().Set("Content-Type", "application/openapi+json")
	_, _ = w.Write(data) // the client has gone
}

// docsPage needs nothing from elsewhere: it works where there is no internet.
const docsPage = `<!doctype html><html lang="en"><meta charset="utf-8"><title>{{.Title}}</title>
<style>body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc;vertical-align:top}code{white-space:nowrap}</style>
<h1>{{.Title}}</h1><p>{{.Description}} The whole description is <a href="/openapi.json">/openapi.json</a>.</p>
<table><tr><th>Route</th><th>What</th><th>Scope</th></tr>
{{range .Routes}}<tr><td><code>{{.Method}} {{.Path}}</code></td><td>{{.Summary}}</td><td>{{.Scope}}</td></tr>
{{end}}</table></html>`

type docsRoute struct{ Method, Path, Summary, Scope string }

func (s *server) serveDocs(w http.ResponseWriter, _ *http.Request) {
	api := s.api.OpenAPI()
	var routes []docsRoute
	for path, item := range api.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Put, item.Post, item.Delete} {
			if op != nil {
				scope, _ := scopeOf(op)
				routes = append(routes, docsRoute{op.Method, path, op.Summary, string(scope)})
			}
		}
	}
	slices.SortFunc(routes, func(a, b docsRoute) int { return strings.Compare(a.Path+a.Method, b.Path+b.Method) })
	t, err := template.New("docs").Parse(docsPage)
	var page bytes.Buffer
	if err == nil {
		err = t.Execute(&page, map[string]any{"Title": api.Info.Title, "Description": api.Info.Description, "Routes": routes})
	}
	if err != nil {
		s.problemOf(err).write(w)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	_, _ = w.Write(page.Bytes()) // the client has gone
}
