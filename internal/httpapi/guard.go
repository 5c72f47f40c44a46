package httpapi

import (
	"fmt"
	"net"
	"net/http"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"golang.org/x/time/rate"

	"github.com/hms-utl/extsync/internal/gateway"
	"github.com/hms-utl/extsync/internal/tokens"
)

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }
func statusText(code int) string  { return strconv.Itoa(code) }

// guard is what every request passes first: limits, time, and answers of one
// form for what is not there.
func (s *server) guard(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		defer s.recover(w, r)
		limitTime(w, r)
		if !s.inFlight.TryAcquire(1) {
			s.overloaded(w)
			return
		}
		defer s.inFlight.Release(1)
		if !s.o.Tokens.Required() {
			// Whoever is on this machine may do everything, but a web page in its
			// browser may not, under whatever name it reaches us.
			if err := s.crossOrigin.Check(r); err != nil || !loopbackHost(r.Host) {
				problem(http.StatusForbidden, "cross_origin", "without tokens, only direct requests to this machine's own address are answered").write(w)
				return
			}
		}
		switch h, pattern := mux.Handler(r); {
		case pattern == "":
			notThere(mux, w, r)
		case reflect.TypeOf(h) == reflect.TypeOf(http.RedirectHandler("", 0)):
			moved(h, w, r)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// limitTime bounds how long a client may take to send a body and to read the
// answer.
func limitTime(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	rc := http.NewResponseController(w)
	// Without a body the server reads already, to see whether the client goes: this
	// would end the request, and with it the connection.
	if r.ContentLength != 0 {
		_ = rc.SetReadDeadline(now.Add(bodyTimeout)) // not every writer of a test can
	}
	_ = rc.SetWriteDeadline(now.Add(maxWait + bodyTimeout)) // likewise
}

func (s *server) overloaded(w http.ResponseWriter) {
	p := problem(http.StatusServiceUnavailable, "overloaded", "too many requests at once")
	p.retryAfter = soon
	p.write(w)
}

func (s *server) recover(w http.ResponseWriter, r *http.Request) {
	switch v := recover(); v {
	case nil:
	case http.ErrAbortHandler:
		panic(v)
	default:
		s.o.Logger.Error().Str("method", r.Method).Str("panic", fmt.Sprint(v)).Bytes("stack", debug.Stack()).Msg("request panicked")
		problem(http.StatusInternalServerError, "internal", "it failed here; the log says why").write(w)
	}
}

func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// notThere lets the mux decide between 404, 405 and a redirection, and answers in
// our form.
func notThere(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	probe := &discard{header: http.Header{}}
	mux.ServeHTTP(probe, r)
	if allow := probe.header.Get("Allow"); allow != "" {
		w.Header().Set("Allow", allow)
	}
	if probe.status == http.StatusMethodNotAllowed {
		problem(http.StatusMethodNotAllowed, "method", "this route has no method "+r.Method).write(w)
		return
	}
	problem(http.StatusNotFound, "unknown_route", "there is no such route; see /openapi.json").write(w)
}

// moved answers in our form where the mux would redirect to a path without empty and
// dotted parts.
func moved(redirect http.Handler, w http.ResponseWriter, r *http.Request) {
	probe := &discard{header: http.Header{}}
	redirect.ServeHTTP(probe, r)
	w.Header().Set("Location", probe.header.Get("Location"))
	problem(probe.status, "moved", "the path has empty or dotted parts; see Location, and percent-encode those of a key").write(w)
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func forbidden(detail string) *Problem { return problem(http.StatusForbidden, "forbidden", detail) }

// authorise lets a request through by the rule of its operation.
func (s *server) authorise(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	c := &caller{from: r.RemoteAddr}
	scope, isPublic := scopeOf(ctx.Operation())
	relayed := gateway.Relayed(r.Context())
	forwarded := administrative(scope) || relays(ctx.Operation())
	if relayed && !forwarded {
		forbidden("a gateway answers this itself").write(w)
		return
	}
	forward := s.o.Forward && forwarded
	if forward && r.Header.Get("Authorization") == "" { // an administrator would not see it
		if p := s.sameSite(r); p != nil {
			p.write(w)
			return
		}
	}
	// A token that is given counts, even if this instance has not heard yet that there are
	// any. One that an administrator verifies need not be one that this instance can.
	if !isPublic && (s.o.Tokens.Required() || relayed || r.Header.Get("Authorization") != "" && !forward) {
		if p := s.authenticate(r, c, scope, ctx.Param("channel"), ctx.Param("topic")); p != nil {
			s.refused(c, ctx.Operation(), p)
			p.write(w)
			return
		}
	}
	release, p := s.admit(ctx.Operation(), c, r)
	if p != nil {
		p.write(w)
		return
	}
	defer release()
	if forward {
		s.forward(w, r, ctx.Operation())
		return
	}
	next(huma.WithValue(withRequest(ctx), callerKey{}, c))
}

// administrative reports whether routes of a scope are answered by an administrator where
// this instance is a gateway: they change something, or are recorded in the audit log.
func administrative(scope tokens.Scope) bool {
	switch scope {
	case tokens.Payload, tokens.Operate, tokens.Configure, tokens.Admin:
		return true
	default:
		return false
	}
}

// relays reports whether an operation is answered by an administrator where this instance
// is a gateway, although nobody needs a scope for it: administrators make the logins.
func relays(op *huma.Operation) bool { return op.Metadata[relaysKey] == true }

// scopeOf returns the scope that an operation needs. One without a rule needs a
// scope that nobody has.
func scopeOf(op *huma.Operation) (scope tokens.Scope, isPublic bool) {
	if op.Security != nil && len(op.Security) == 0 {
		return "", true
	}
	for _, needed := range op.Security {
		if scopes := needed[tokenScheme]; len(scopes) == 1 {
			return tokens.Scope(scopes[0]), false
		}
	}
	return "", false
}

// take takes one request out of a rate, or says how long to wait.
func take(l *rate.Limiter) (time.Duration, bool) {
	if l == nil || l.Allow() {
		return 0, true
	}
	return max(soon, time.Duration(float64(time.Second)/float64(l.Limit()))), false
}
