// Package conncaldav is the connector to calendars that speak CalDAV (RFC 4791).
//
// # What it writes
//
// Each key has one calendar object, an event or a task. Its name and its UID come from the
// key (connkit.KeyName). The payload is the object in iCalendar, as the channel's render
// makes it; the connector puts UID, SEQUENCE and three properties of its own into it:
// X-EXTSYNC-VERSION, X-EXTSYNC-DIGEST and X-EXTSYNC-OP. A delete leaves an object with
// STATUS:CANCELLED, the version and the times it had, and nothing else, so that an older
// update which comes late is refused.
//
// # The guard
//
// The connector reads the object, compares the version in it, and writes under the condition
// that the object's ETag is still the one that was read, or that there is still no object.
// The version is in the object, so no two versions have one ETag, also where servers make
// it from the content. Servers write objects anew as they like it; the properties
// are what counts, never the bytes.
//
// SEQUENCE counts the writes of an object. Clients ignore what has a lower one than what they
// know (RFC 5546), so an object that reached them late by another way does not win there
// either. It has 31 bits, so it cannot be the version.
package conncaldav

import (
	"context"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// KindName is the name of the kind in configurations.
const KindName = "caldav"

// Kind returns the connector kind "caldav".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name:    KindName,
		Summary: "an event or a task of a calendar for each key",
		Capabilities: connectors.Capabilities{
			Guard: connectors.GuardConditional, KeepsDigest: true, KeepsTombstone: true,
			Probes: true, Reads: true, Previews: true,
		},
		Config: Config{},
		Access: []string{"auth", "tls", "allow_cidrs"},
		Check: func(config []byte) error {
			_, err := decode(config)
			return err
		},
		Open: open,
	}
}

// connector implements connectors.Connector. It is safe for concurrent use.
type connector struct {
	Config
	calendar    *url.URL // with a slash at its end
	authorize   string   // the value of the header Authorization, "" for none
	domain      string   // of UIDs
	transport   httpkit.Transport
	scrubber    *connectors.Scrubber
	timeout     time.Duration // of a call
	concurrency int
	now         func() time.Time
	// known: the URL is that of a calendar. A server may make a calendar of its own out of an
	// object that is put elsewhere.
	known atomic.Bool
}

// Compile-time checks of what the connector offers.
var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Reader    = (*connector)(nil)
	_ connectors.Previewer = (*connector)(nil)
)

func open(_ context.Context, env connectors.Env, data []byte) (connectors.Connector, error) {
	cfg, err := decode(data)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	c := &connector{
		Config: cfg, domain: cfg.UIDDomain, scrubber: env.Scrubber(), timeout: connkit.TimeoutOf(env),
		concurrency: max(1, env.Concurrency), now: time.Now,
	}
	if c.domain == "" {
		c.domain = env.Channel
	}
	if c.calendar, err = parseURL(cfg.URL); err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	s := connkit.NewSecrets(env)
	c.authorize = cfg.Auth.header(s, env)
	secure, err := cfg.TLS.Config(s)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if !httpkit.ValidHeaderValue(c.authorize) {
		return nil, connkit.Misconfigured("config", errBearer)
	}
	dialer, err := env.Dialer(cfg.AllowCIDRs)
	if err != nil {
		return nil, err
	}
	c.transport = httpkit.NewTransport(dialer, secure, c.concurrency)
	return c, nil
}

// Close closes the connections, which are idle by then.
func (c *connector) Close(context.Context) error {
	c.transport.CloseIdleConnections()
	return nil
}

// Apply writes each attempt.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	return connkit.OneByOne(ctx, attempts, c.apply)
}

func (c *connector) apply(parent context.Context, a *connectors.Attempt) connectors.Result {
	ctx, cancel := connkit.Bounded(parent, c.timeout)
	defer cancel()
	// What is wrong with an update is said before the target is asked.
	d, err := c.draft(a)
	if err != nil {
		return connectors.Unasked("payload", err)
	}
	if res := c.ensure(ctx); res != nil {
		return *res
	}
	name := c.nameOf(a.Key)
	return connkit.Conditional[object]{
		Target: "the calendar", Adopt: c.Adopt,
		Look: func(ctx context.Context) (connkit.State, object, *connectors.Result) {
			there, res := c.get(ctx, name)
			return there.State, there, res
		},
		Put: func(ctx context.Context, there object) (bool, *connectors.Result) {
			return c.put(ctx, name, &there, d.after(&there))
		},
	}.Apply(ctx, a)
}
