package connplugin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A link carries requests to a plugin and its answers back.
type link interface {
	// call makes a request and returns its answer, which is no error. keys are those that
	// the request writes: nothing else is asked about them until it is answered. What is
	// not known to have been done when ctx ends is an error.
	call(ctx context.Context, method string, params any, keys []string) (*answer, error)
	// ready waits until the plugin is.
	ready(ctx context.Context) error
	close(ctx context.Context) error
}

// connector is safe for concurrent use.
type connector struct {
	env     connectors.Env
	cfg     Config
	opening openParams
	link    link
	hello   atomic.Pointer[answer] // the last one
}

var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Batcher   = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Reader    = (*connector)(nil)
	_ connectors.Lister    = (*connector)(nil)
)

// MaxBatch returns the most attempts in one request.
func (c *connector) MaxBatch() int { return c.cfg.MaxBatch }

// Apply has the plugin make the attempts.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	if len(attempts) == 0 {
		return nil
	}
	params, keys := applyParams{make([]attempt, len(attempts))}, make([]string, len(attempts))
	for i := range attempts {
		params.Attempts[i], keys[i] = newAttempt(&attempts[i]), attempts[i].Key
	}
	a, err := c.link.call(ctx, methodApply, params, keys)
	if err != nil {
		return failAll(len(attempts), err)
	}
	return justified(attempts, c.results(a, len(attempts)))
}

// Probe asks the plugin whether its target is there.
func (c *connector) Probe(ctx context.Context) error {
	_, err := c.link.call(ctx, methodProbe, struct{}{}, nil)
	return err
}

// Read asks the plugin what the target holds.
func (c *connector) Read(ctx context.Context, keys []string) ([]connectors.Held, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	a, err := c.link.call(ctx, methodRead, readParams{keys}, nil)
	if err != nil {
		return nil, err
	}
	if len(a.Held) != len(keys) {
		return nil, violation("it gave %d answers for %d keys", len(a.Held), len(keys))
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
func (c *connector) List(ctx context.Context, after string, limit int) ([]string, error) {
	a, err := c.link.call(ctx, methodList, listParams{after, limit}, nil)
	if err != nil {
		return nil, err
	}
	if len(a.Keys) > limit || slices.Contains(a.Keys, "") {
		return nil, violation("it listed %d keys where %d were asked for, or an empty one", len(a.Keys), limit)
	}
	return a.Keys, nil
}

// Close ends the session with the plugin, and the plugin's processes.
func (c *connector) Close(ctx context.Context) error { return c.link.close(ctx) }

// asker makes one request of a session that is not used by others yet.
type asker func(ctx context.Context, method string, params any) (*answer, error)

// shake says hello and opens a session. It returns how many requests the plugin takes at
// once.
func (c *connector) shake(ctx context.Context, ask asker) (concurrency int, err error) {
	a, err := ask(ctx, methodHello, helloParams{Protocol})
	if err != nil {
		return 0, err
	}
	if a.Protocol != Protocol {
		return 0, &connectors.Error{Class: connectors.Misconfigured, Code: codeProtocol, Err: violation("it speaks version %d of it, and version %d is needed", a.Protocol, Protocol)}
	}
	if a.Capabilities.Guard == "" {
		a.Capabilities.Guard = connectors.GuardLedger
	}
	c.hello.Store(a)
	if missing := c.cfg.Capabilities.beyond(a.Capabilities); len(missing) > 0 {
		return 0, &connectors.Error{
			Class: connectors.Misconfigured, Code: "capabilities",
			Err: errors.New("the plugin cannot do what capabilities says: " + strings.Join(missing, ", ")),
		}
	}
	if _, err := ask(ctx, methodOpen, c.opening); err != nil {
		return 0, err
	}
	return min(max(1, a.Concurrency), max(1, c.env.Concurrency), mostConcurrent), nil
}

// nowhere is the link of a preview.
type nowhere struct{}

func (nowhere) call(context.Context, string, any, []string) (*answer, error) {
	return nil, errors.New("nothing is asked for a preview")
}

func (nowhere) ready(context.Context) error { return nil }

func (nowhere) close(context.Context) error { return nil }
