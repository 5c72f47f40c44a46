package tryout

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/guardrace"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/transform"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// ErrTaken says that the key of a race is an entity's.
var ErrTaken = errors.New("the target has this key")

// A GuardReport tells what came of a race at a channel's target.
type GuardReport struct {
	Channel string `json:"channel"`
	Key     string `json:"key"`
	// Result is holds, broken, or failed where the race could not be run to its end.
	Result string `json:"result" enum:"holds,broken,failed"`
	Error  string `json:"error,omitempty"`
	// Payload is that of the first version, after the mapping.
	Payload string `json:"payload"`
	// Readable: what the target holds was read after each round. Otherwise its answers
	// alone were judged.
	Readable bool `json:"readable"`
	guardrace.Report
}

// The results of a race. A race that cannot be run to its end is Failed.
const (
	Holds  = "holds"
	Broken = "broken"
)

// Race has writers race at the target of a channel, each version through the channel's
// filter and mapping, as a worker would send it. u is the first version; its key must be
// nobody's. The report is nil if the race could not begin; the error wraps ErrFailed if it
// did not come to its end.
func Race(ctx context.Context, catalog *connectors.Catalog, cfg channels.Config, env connectors.Env, u events.Update) (*GuardReport, error) {
	race := guardrace.Race{
		First: u.Version, Timeout: cfg.Timeout.D(),
		Attempt: func(v versioning.Version, op events.Op) connectors.Attempt { return attempt(u, v, op) },
	}
	target, done, err := enter(ctx, catalog, cfg, env, &race)
	defer done()
	if err != nil {
		return nil, fmt.Errorf("channel %s: %w", cfg.Name, err)
	}
	can := target.Can()
	if err := guardrace.Check(can.Guard); err != nil {
		return nil, fmt.Errorf("channel %s: %w", cfg.Name, err)
	}
	race.Guard = can.Guard
	report := &GuardReport{Channel: cfg.Name, Key: u.Key, Readable: can.Reads}
	if can.Reads {
		race.Read = func(ctx context.Context) (connectors.Held, error) { return read(ctx, target, race.Timeout, u.Key) }
		switch held, err := race.Read(ctx); {
		case err != nil:
			return nil, fmt.Errorf("%w: channel %s: read what the target holds: %w", ErrFailed, cfg.Name, err)
		case !held.Version.IsZero() && held.Op != events.Delete:
			return nil, fmt.Errorf("%w: channel %s, key %s, version %s", ErrTaken, cfg.Name, u.Key, held.Version)
		}
	}
	report.Report, err = race.Run(ctx)
	switch {
	case err != nil:
		report.Result, report.Error = Failed, err.Error()
		return report, fmt.Errorf("%w: channel %s: %w", ErrFailed, cfg.Name, err)
	case len(report.Violations) > 0:
		report.Result = Broken
	default:
		report.Result = Holds
	}
	return report, nil
}

// enter opens a connector for each writer. target is one of them; done closes all, also
// after an error.
func enter(ctx context.Context, catalog *connectors.Catalog, cfg channels.Config, env connectors.Env, race *guardrace.Race) (target *connectors.Opened, done func(), err error) {
	var opened []*connectors.Opened
	done = func() {
		for _, conn := range opened {
			_ = conn.Close(context.WithoutCancel(ctx)) // the target has what it got
		}
	}
	kind, err := catalog.Kind(cfg.Connector.Kind)
	if err != nil {
		return nil, done, err
	}
	env.Channel, env.Concurrency, env.Timeout = cfg.Name, 1, cfg.Timeout.D()
	for i := range race.Writers {
		if target, err = connectors.Open(ctx, kind, env, cfg.Connector.Config); err != nil {
			return nil, done, err
		}
		opened = append(opened, target)
		if race.Writers[i], err = transform.Wrap(target, cfg.Transform()); err != nil {
			return nil, done, err
		}
	}
	return target, done, nil
}

// attempt returns the first attempt of one more version of an update.
func attempt(u events.Update, v versioning.Version, op events.Op) connectors.Attempt {
	u.Version, u.Op, u.ID = v, op, ""
	if op == events.Delete {
		u.Payload = nil
	}
	u = u.WithDefaults()
	return connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
}

func read(ctx context.Context, target *connectors.Opened, timeout time.Duration, key string) (connectors.Held, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	held, err := target.Read(ctx, []string{key})
	if err != nil {
		return connectors.Held{}, err
	}
	if len(held) != 1 {
		return connectors.Held{}, fmt.Errorf("the connector gave %d answers for one key", len(held))
	}
	return held[0], nil
}
