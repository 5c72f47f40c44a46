package tryout

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/conformance"
	"github.com/hms-utl/extsync/pkg/connectors/connplugin"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Plugin is one that the conformance suite is run on.
type Plugin struct {
	// Config is that of its channel. What the plugin says that it can do takes the place of
	// Capabilities.
	Config connplugin.Config
	// Times: its versions may be times.
	Times bool
	// Payload is what it takes, with {text} where a text of the suite's is to be; "": a JSON
	// object. Bad is what it refuses for good; "": there is no such payload.
	Payload, Bad string
	// Host is what it may use of this process. Log takes its lines.
	Host connectors.Host
	Log  func(line string)
}

// TestPlugin runs the suite on a plugin and gives each case's result to done. The error says
// why the plugin does not even say hello.
func TestPlugin(ctx context.Context, p Plugin, done func(conformance.Result)) (connplugin.Hello, error) {
	hello, config, err := p.ask(ctx)
	if err != nil {
		return hello, err
	}
	target, end, err := p.target(ctx, hello, config)
	if err != nil {
		return hello, err
	}
	defer end()
	conformance.Record(ctx, target, done)
	return hello, ctx.Err()
}

func (p Plugin) env() connectors.Env {
	env := p.Host.Env(conformance.Channel)
	env.Concurrency, env.Timeout, env.Log = conformance.Concurrency, conformance.Timeout, p.Log
	return env
}

// ask returns what the plugin says of itself, and the configuration that uses all of it.
func (p Plugin) ask(ctx context.Context) (hello connplugin.Hello, config []byte, err error) {
	p.Config.Capabilities = connplugin.Capabilities{Guard: connectors.GuardNone}
	if config, err = json.Marshal(p.Config); err != nil {
		return hello, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, conformance.Timeout)
	defer cancel()
	if hello, err = connplugin.Ask(ctx, p.env(), config); err != nil {
		return hello, nil, err
	}
	p.Config.Capabilities = hello.Capabilities
	config, err = json.Marshal(p.Config)
	return hello, config, err
}

// target returns the plugin as the suite sees it. What it holds is read by another process
// of it, which end closes.
func (p Plugin) target(ctx context.Context, hello connplugin.Hello, config []byte) (target conformance.Target, end func(), err error) {
	open := func(ctx context.Context) (*connectors.Opened, error) {
		return connectors.Open(ctx, connplugin.Kind(), p.env(), config)
	}
	can := hello.Capabilities
	guarded := can.Guard == connectors.GuardAtomic || can.Guard == connectors.GuardConditional
	target = conformance.Target{
		Prefix: newPrefix(), Guarded: guarded, Times: p.Times,
		KeepsDigest: guarded && can.KeepsDigest, Tombstones: guarded && can.KeepsTombstone,
		Open: func(t conformance.T) *connectors.Opened {
			c, err := open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
	}
	if p.Payload != "" {
		target.Payload = func(text string) []byte { return []byte(strings.ReplaceAll(p.Payload, "{text}", text)) }
	}
	if p.Bad != "" {
		target.BadUpdate = func(u *events.Update) { u.Payload = []byte(p.Bad) }
	}
	if !can.Reads {
		return target, func() {}, nil
	}
	witness, err := open(ctx)
	if err != nil {
		return target, nil, err
	}
	target.Read = func(t conformance.T, keys ...string) map[string]connectors.Held { return witnessed(t, witness, keys) }
	return target, func() { _ = witness.Close(context.WithoutCancel(ctx)) }, nil
}

// witnessed returns what a connector reads of keys.
func witnessed(t conformance.T, c *connectors.Opened, keys []string) map[string]connectors.Held {
	ctx, cancel := context.WithTimeout(t.Context(), conformance.Timeout)
	defer cancel()
	held, err := c.Read(ctx, keys)
	if err != nil {
		t.Errorf("what the target holds cannot be read: %v", err)
	}
	out := map[string]connectors.Held{}
	for i, h := range held {
		if !h.IsZero() {
			out[keys[i]] = h
		}
	}
	return out
}

// newPrefix begins the keys of one run: the target may still have those of the last one.
func newPrefix() string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // it never fails
	return fmt.Sprintf("t%s-", hex.EncodeToString(b[:]))
}
