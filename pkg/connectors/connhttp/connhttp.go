// Package connhttp is the connector to targets that speak HTTP.
//
// Every update is one request: its payload as the body, its attributes as
// CloudEvents headers (ce-*), among them ce-subject (the key), ce-entityversion
// and ce-op. The target answers
//
//   - 2xx when it holds this version now. It must answer so, too, when the same
//     version comes again: an answer can get lost.
//   - 409 or 412 with ce-entityversion when it holds that version, newer than
//     the one it was sent: this is how a target guards itself against what comes
//     late. With ce-entitydigest besides, it may answer so to the version it has,
//     and the connector tells the same content from another one.
//   - 404 or 410 to a tombstone when there is nothing to remove.
//   - 429, or 503 with Retry-After, when it wants to be left alone for a while.
//
// What every other answer means is in one table, and Config.Answers can say otherwise. An
// answer that breaks off within its first 64 KiB (1 MiB if a rule reads it), or does not end in time, shows neither
// success nor conflict, whatever its status is: the attempt is repeated.
//
// All attempts of an update have the same Idempotency-Key and, if they are
// signed, webhook-id. A replay or resync has others, so that a target which
// remembers them carries it out; its ce-id is that of the update.
//
// Only public addresses are connected to unless Config.AllowCIDRs says more, within
// what the worker's operator allows. No
// error shows a path or a query, and neither an error nor the excerpt of an answer
// shows a secret of the configuration.
package connhttp

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
	"github.com/hms-utl/extsync/pkg/events"
)

// KindName is connector.kind of a channel with an HTTP target.
const KindName = "http"

// Kind returns the connector kind "http".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name:    KindName,
		Summary: "sends each update as one HTTP request (CloudEvents, Standard Webhooks)",
		// The receiver is told the version; whether it refuses an older one is up to it.
		Capabilities: connectors.Capabilities{
			Guard: connectors.GuardByFormat, KeepsDigest: true, KeepsTombstone: true, Probes: true, Reads: true, Fetches: true, Previews: true,
			Remembers: true,
		},
		Configured: func(config []byte) connectors.Capabilities {
			c, _ := Decode(config) // a configuration that is not valid can nothing
			can := Kind().Capabilities
			can.Probes, can.Reads, can.Fetches, can.Remembers = c.ProbeURL != "", c.Read.URL != "", c.Read.URL != "", len(c.remembered()) > 0
			return can
		},
		Config: Config{},
		Access: []string{"auth", "signing", "tls", "proxy", "connect_timeout", "allow_cidrs", "probe_url", "read"},
		Check: func(config []byte) error {
			_, err := Decode(config)
			return err
		},
		Explain: explain,
		Open: func(ctx context.Context, env connectors.Env, config []byte) (connectors.Connector, error) {
			c, err := Decode(config)
			if err != nil {
				return nil, connkit.Misconfigured("config", err)
			}
			return New(ctx, env, c)
		},
	}
}

// deps are what tests replace.
type deps struct{ now func() time.Time }

// connector implements connectors.Connector. It is safe for concurrent use.
type connector struct {
	*opened
	transport    httpkit.Transport
	tokens       *tokens // nil without OAuth2
	tokenClient  httpkit.Transport
	rules        []answerRule
	mostRead     int // of an answer, in bytes
	readVersion  *rule
	readDigest   *rule
	readRemember []memory
	lookup       *lookup // nil: none
	lost         *lostCalls
	now          func() time.Time
}

// Compile-time checks of what the connector offers.
var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Reader    = (*connector)(nil)
	_ connectors.Previewer = (*connector)(nil)
)

// New opens a connector. Fields of the configuration that are zero get their
// defaults. It connects to nothing yet. The error is a *connectors.Error of class
// Misconfigured.
func New(_ context.Context, env connectors.Env, config Config) (connectors.Connector, error) {
	return open(env, config, deps{now: time.Now})
}

func open(env connectors.Env, config Config, d deps) (connectors.Connector, error) {
	config = config.withDefaults()
	if err := config.Validate(); err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	o, err := resolve(config, env)
	if err != nil {
		return nil, err
	}
	c := &connector{opened: o, now: d.now, mostRead: maxBody, lost: &lostCalls{}}
	if err := c.compile(); err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	c.transport = newTransport(o)
	if o.oauth != nil {
		// A name that the target's certificate is to have says nothing of the token
		// endpoint's.
		c.tokenClient = newTransport(o)
		c.tokenClient.TLSClientConfig = o.tls.Clone()
		c.tokenClient.TLSClientConfig.ServerName = ""
		c.tokens = newTokens(o.oauth, c.tokenClient, d.now, o.scrubber)
	}
	return c, nil
}

// compile compiles the expressions of the configuration. Validate has done so once, so
// none fails here.
func (c *connector) compile() error {
	var p connectors.Problems
	c.rules = compileAnswers(c.Answers, &p)
	for i := range c.rules {
		if c.rules[i].readsBody || c.rules[i].readsText {
			c.mostRead = maxRuledBody
		}
	}
	var err1, err2 error
	c.readVersion, err1 = compileRule(c.Config.Read.Version)
	c.readDigest, err2 = compileRule(c.Config.Read.Digest)
	c.readRemember = compileMemories("read.remember", c.Config.Read.Remember, &p)
	if c.lookup = c.Lookup.compile(&p); c.lookup != nil {
		c.lookup.to, c.mostRead = *c.lookAt, maxRuledBody
	}
	return errors.Join(err1, err2, p.Err())
}

// Apply makes one request for each attempt, one after the other.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	results := make([]connectors.Result, len(attempts))
	for i := range attempts {
		results[i] = c.apply(ctx, &attempts[i])
	}
	return results
}

// Close closes the connections, which are idle by then.
func (c *connector) Close(context.Context) error {
	c.transport.CloseIdleConnections()
	if c.tokens != nil {
		c.tokenClient.CloseIdleConnections()
	}
	return nil
}

func (c *connector) apply(parent context.Context, a *connectors.Attempt) connectors.Result {
	ctx, cancel := c.bounded(parent)
	defer cancel()
	if ctx.Err() != nil {
		return c.failed(parent, ctx, c.routeOf(a).name(), ctx.Err())
	}
	if c.byRefs {
		return c.write(parent, ctx, *a)
	}
	res, _ := c.call(parent, ctx, a, c.routeOf(a))
	return res
}

// call makes one request and judges its answer, which is nil if there was none.
func (c *connector) call(parent, ctx context.Context, a *connectors.Attempt, to *route) (connectors.Result, *reply) {
	req, err := c.request(ctx, a, to)
	if err != nil {
		return connectors.Unasked("request", err), nil
	}
	token, fresh, err := c.authorize(ctx, req)
	if err != nil {
		return c.tokenFailed(parent, ctx, err), nil
	}
	answer, err := c.transport.RoundTrip(req)
	if err != nil {
		return c.failed(parent, ctx, to.name(), err), nil
	}
	defer func() { _ = answer.Body.Close() }() // only read from
	r := readReply(answer, c.mostRead)
	res := c.judge(parent, ctx, a, to, r)
	if answer.StatusCode == http.StatusUnauthorized && c.tokens != nil {
		c.tokens.drop(token)
		if !fresh && res.Class == connectors.Misconfigured {
			// The token may have been withdrawn before its time; a new one decides.
			res.Class = connectors.Transient
		}
	}
	return res, r
}

// routeOf returns the route of an update of which nothing is remembered.
func (c *connector) routeOf(a *connectors.Attempt) *route {
	if a.Op == events.Delete {
		return &c.remove
	}
	return &c.create
}

// bounded returns a context that ends after the channel's timeout.
func (c *connector) bounded(parent context.Context) (context.Context, context.CancelFunc) {
	return connkit.Bounded(parent, c.timeout)
}

// authorize adds an OAuth2 token, if that is the way.
func (c *connector) authorize(ctx context.Context, req *http.Request) (token string, fresh bool, err error) {
	if c.tokens == nil {
		return "", false, nil
	}
	token, fresh, err = c.tokens.get(ctx)
	if err == nil {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return token, fresh, err
}
