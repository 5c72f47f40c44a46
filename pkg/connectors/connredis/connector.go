package connredis

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A connector is safe for concurrent use, as all that it knows is at the server.
type connector struct {
	cfg      Config
	prefix   string
	digest   string // the name of the script at a server that knows it
	client   redis.UniversalClient
	calls    *calls
	reload   func() // asks a cluster anew where its slots are
	scrubber *connectors.Scrubber
}

var (
	_ connectors.Connector = (*connector)(nil)
	_ connectors.Batcher   = (*connector)(nil)
	_ connectors.Prober    = (*connector)(nil)
	_ connectors.Reader    = (*connector)(nil)
	_ connectors.Comparer  = (*connector)(nil)
	_ connectors.Previewer = (*connector)(nil)
)

// MaxBatch returns the configuration's max_batch.
func (c *connector) MaxBatch() int { return c.cfg.MaxBatch }

// Apply sends all attempts, and then reads an answer for each: one that fails leaves the
// others alone.
func (c *connector) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	if len(attempts) == 0 {
		return nil
	}
	ctx, end := c.calls.begin(ctx)
	defer end()
	results := make([]connectors.Result, len(attempts))
	asked := make([]once, len(attempts))
	for i := range attempts {
		names, ok := c.keysOf(attempts[i].Key)
		if !ok {
			results[i] = connectors.Unasked("key", errors.New("the key has a } that keeps its payload and its version from being in one slot; the layout hash takes it"))
			continue
		}
		asked[i] = once{redis.NewCmd(ctx, c.command("evalsha", c.digest, names, &attempts[i])...)}
	}
	c.send(ctx, asked)
	c.introduce(ctx, attempts, asked)
	for i := range attempts {
		if asked[i].Cmd != nil {
			results[i] = c.result(ctx, &attempts[i], asked[i])
		}
	}
	return results
}

// command returns a command that runs the script, by its text or its name.
func (c *connector) command(how, which string, names []string, a *connectors.Attempt) []any {
	args := append(make([]any, 0, 10), how, which, len(names))
	for _, name := range names {
		args = append(args, name)
	}
	unusual := ""
	if a.Again {
		unusual += "again "
	}
	if c.cfg.Adopt {
		unusual += "adopt"
	}
	args = append(args, sorted(a.Version), a.Digest.String(), string(a.Op), unusual)
	if a.Op == events.Delete {
		return append(args, c.cfg.TombstoneTTL.D().Milliseconds())
	}
	return append(args, a.Payload)
}

// send sends the commands that are there, each to the server of its key. What comes of each
// is in the command.
func (c *connector) send(ctx context.Context, commands []once) {
	pipe := c.client.Pipeline()
	for _, cmd := range commands {
		if cmd.Cmd != nil {
			_ = pipe.Process(ctx, cmd) // only queues it
		}
	}
	if pipe.Len() == 0 {
		return
	}
	_, err := pipe.Exec(ctx)
	for _, cmd := range commands {
		if cmd.Cmd != nil && cmd.Err() == nil && cmd.Val() == nil {
			cmd.SetErr(notAsked(err))
		}
	}
}

// errNoAnswer is what is left to say of a command without an answer or an error.
var errNoAnswer = errors.New("the server gave no answer")

// notAsked returns the error of a command that was not sent because the server has refused
// the connection: the library leaves such an error out of the commands.
func notAsked(err error) error {
	if err == nil {
		return errNoAnswer
	}
	return err
}

// introduce sends the text of the script with those attempts whose server does not know
// its name: it was started anew.
func (c *connector) introduce(ctx context.Context, attempts []connectors.Attempt, asked []once) {
	unknown := make([]once, len(asked))
	for i, cmd := range asked {
		if cmd.Cmd == nil || !redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT") {
			continue
		}
		names, _ := c.keysOf(attempts[i].Key)
		asked[i] = once{redis.NewCmd(ctx, c.command("eval", script, names, &attempts[i])...)}
		unknown[i] = asked[i]
	}
	c.send(ctx, unknown)
}

// result says what came of an attempt.
func (c *connector) result(ctx context.Context, a *connectors.Attempt, cmd once) connectors.Result {
	value, err := cmd.Result()
	if err != nil {
		return c.failed(ctx, err)
	}
	if _, done := value.(int64); done {
		return connectors.Done()
	}
	there, ok := value.([]any)
	if !ok || len(there) != 2 {
		return connectors.Failed(connectors.Transient, "answer", errAnswer)
	}
	held, ok := tagOf(text(there, 0), text(there, 1))
	if !ok {
		hint := ""
		if text(there, 0) == "" && !c.cfg.Adopt {
			hint = "; adopt: true takes over what has no version"
		}
		return connectors.Failed(connectors.Conflict, "foreign", errors.New("the server holds something there that the platform did not write"+hint))
	}
	out := connectors.Result{Held: held}
	switch verdict, err := versioning.Guard(held, versioning.Tag{Version: a.Version, Digest: a.Digest}, versioning.Version{}); verdict {
	case versioning.Stale:
		out.Class, out.Code, out.Err = connectors.Stale, "stale", fmt.Errorf("the server holds version %s, which is newer", held.Version)
	case versioning.Conflict:
		out.Class, out.Code, out.Err = connectors.Conflict, "conflict", fmt.Errorf("the server holds version %s with another content", held.Version)
	case versioning.Refused:
		out.Class, out.Code, out.Err = connectors.Conflict, "version-kind", fmt.Errorf("the server holds a version of another kind: %w", err)
	default:
		return connectors.Failed(connectors.Transient, "answer", errors.New("the server refuses the version and shows no newer one"))
	}
	return out
}

// Probe calls a command that would write, and changes nothing.
func (c *connector) Probe(ctx context.Context) error {
	ctx, end := c.calls.begin(ctx)
	defer end()
	cmd := []once{{redis.NewCmd(ctx, "eval", probeScript, 1, c.prefix+"extsync-guard-probe")}}
	if c.send(ctx, cmd); cmd[0].Err() != nil {
		return c.explain(ctx, cmd[0].Err())
	}
	return nil
}

// Preview returns the command that Apply would send to a server that knows the script.
func (c *connector) Preview(_ context.Context, a connectors.Attempt) (connectors.Preview, error) {
	names, _ := c.keysOf(a.Key)
	p := connectors.Preview{Statement: "EVALSHA, the guard: write unless " + names[0] + " holds a newer version"}
	for _, arg := range c.command("evalsha", c.digest, names, &a)[3:] {
		if raw, ok := arg.([]byte); ok {
			arg = string(raw)
			if !utf8.Valid(raw) {
				arg = `\x` + hex.EncodeToString(raw)
			}
		}
		p.Parameters = append(p.Parameters, arg)
	}
	return p, nil
}

// Close closes the connections, and ends what is under way on them.
func (c *connector) Close(context.Context) error {
	c.calls.close()
	if err := c.client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
		return fmt.Errorf("close the connections: %w", err)
	}
	return nil
}
