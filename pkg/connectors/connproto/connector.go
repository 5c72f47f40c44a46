package connproto

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A Link carries requests to a plugin and its answers back. It is safe for concurrent use.
type Link interface {
	// Call makes a request and returns its answer, which is no error. keys are those that
	// the request writes: nothing else is asked about them until it is answered. What is
	// not known to have been done when ctx ends is an error.
	Call(ctx context.Context, method string, params any, keys []string) (*Answer, error)
	// Ready waits until the plugin is.
	Ready(ctx context.Context) error
	Close(ctx context.Context) error
}

// A Connector has a plugin do what a connector is asked to do. It is safe for concurrent
// use, once it has a link.
type Connector struct {
	env          connectors.Env
	capabilities Capabilities
	maxBatch     int
	link         Link
	hello        atomic.Pointer[Answer] // the last one
}

// New returns a connector that uses these capabilities of a plugin. Use gives it the link.
func New(env connectors.Env, capabilities Capabilities, maxBatch int) *Connector {
	return &Connector{env: env, capabilities: capabilities, maxBatch: maxBatch}
}

// Use has the connector speak through a link, which may know the connector.
func (c *Connector) Use(link Link) { c.link = link }

// Env returns what the connector is opened with.
func (c *Connector) Env() connectors.Env { return c.env }

var (
	_ connectors.Connector = (*Connector)(nil)
	_ connectors.Batcher   = (*Connector)(nil)
	_ connectors.Prober    = (*Connector)(nil)
	_ connectors.Reader    = (*Connector)(nil)
	_ connectors.Lister    = (*Connector)(nil)
)

// MaxBatch returns the most attempts in one request.
func (c *Connector) MaxBatch() int { return c.maxBatch }

// Apply has the plugin make the attempts.
func (c *Connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	if len(attempts) == 0 {
		return nil
	}
	params, keys := applyParams{make([]attempt, len(attempts))}, make([]string, len(attempts))
	for i := range attempts {
		params.Attempts[i], keys[i] = newAttempt(&attempts[i]), attempts[i].Key
	}
	a, err := c.link.Call(ctx, MethodApply, params, keys)
	if err != nil {
		return failAll(len(attempts), err)
	}
	return justified(attempts, c.results(a, len(attempts)))
}

// Probe asks the plugin whether its target is there.
func (c *Connector) Probe(ctx context.Context) error {
	_, err := c.link.Call(ctx, MethodProbe, struct{}{}, nil)
	return err
}

// Read asks the plugin what the target holds.
func (c *Connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	a, err := c.link.Call(ctx, MethodRead, readParams{keys}, nil)
	if err != nil {
		return nil, err
	}
	if len(a.Held) != len(keys) {
		return nil, Violation("it gave %d answers for %d keys", len(a.Held), len(keys))
	}
	out := make([]connectors.Held, len(keys))
	for i, h := range a.Held {
		if out[i], err = heldOf(h); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// List asks the plugin for the next keys of the target.
func (c *Connector) List(ctx context.Context, after string, limit int) ([]string, error) {
	a, err := c.link.Call(ctx, MethodList, listParams{after, limit}, nil)
	if err != nil {
		return nil, err
	}
	if len(a.Keys) > limit || slices.Contains(a.Keys, "") {
		return nil, Violation("it listed %d keys where %d were asked for, or an empty one", len(a.Keys), limit)
	}
	return a.Keys, nil
}

// Close ends the session with the plugin, and the plugin's processes.
func (c *Connector) Close(ctx context.Context) error { return c.link.Close(ctx) }

// Ready waits until the plugin is.
func (c *Connector) Ready(ctx context.Context) error { return c.link.Ready(ctx) }

// Said returns what the plugin has said of itself, nil before it has.
func (c *Connector) Said() *Answer { return c.hello.Load() }

// An Asker makes one request of a plugin that is not used by others yet.
type Asker func(ctx context.Context, method string, params any) (*Answer, error)

// Greet says hello. It returns how many requests the plugin takes at once, or an error if
// it cannot do what the channel uses.
func (c *Connector) Greet(ctx context.Context, ask Asker) (concurrency int, err error) {
	a, err := ask(ctx, MethodHello, helloParams{Protocol})
	if err != nil {
		return 0, err
	}
	if a.Protocol != Protocol {
		return 0, &connectors.Error{Class: connectors.Misconfigured, Code: codeProtocol, Err: Violation("it speaks version %d of it, and version %d is needed", a.Protocol, Protocol)}
	}
	if a.Capabilities.Guard == "" {
		a.Capabilities.Guard = connectors.GuardLedger
	}
	c.hello.Store(a)
	if missing := c.capabilities.beyond(a.Capabilities); len(missing) > 0 {
		return 0, &connectors.Error{
			Class: connectors.Misconfigured, Code: "capabilities",
			Err: errors.New("the plugin cannot do what capabilities says: " + strings.Join(missing, ", ")),
		}
	}
	return min(max(1, a.Concurrency), max(1, c.env.Concurrency), mostConcurrent), nil
}

// Open configures a session. config holds the values of secrets.
func (c *Connector) Open(ctx context.Context, ask Asker, config map[string]any) error {
	_, err := ask(ctx, MethodOpen, openParams{Channel: c.env.Channel, Config: config, Capabilities: c.capabilities})
	return err
}

// Exchange makes one request of a plugin that answers each by itself: send takes the
// document to it and returns what it answers.
func (c *Connector) Exchange(ctx context.Context, id uint64, session, method string, params any, send func(ctx context.Context, request []byte) ([]byte, error)) (*Answer, error) {
	encoded, err := EncodeParams(params)
	if err != nil {
		return nil, err
	}
	data, err := send(ctx, append(AppendRequest(nil, id, session, method, connectors.BeginBy(ctx), encoded), '\n'))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxAnswer {
		return nil, Violation("an answer is longer than %d bytes", MaxAnswer)
	}
	a, err := ParseAnswer(data)
	switch {
	case err != nil:
		return nil, err
	case a.ID != id:
		return nil, Violation("it answers request %d instead of %d", a.ID, id)
	default:
		return a, c.ErrorOf(a)
	}
}

// Nowhere is the link of a preview.
type Nowhere struct{}

// Call fails.
func (Nowhere) Call(context.Context, string, any, []string) (*Answer, error) {
	return nil, errors.New("nothing is asked for a preview")
}

// Ready says that there is nothing to wait for.
func (Nowhere) Ready(context.Context) error { return nil }

// Close does nothing.
func (Nowhere) Close(context.Context) error { return nil }
