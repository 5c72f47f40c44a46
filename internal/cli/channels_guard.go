package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hms-utl/extsync/internal/tryout"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/guardrace"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/events"
)

// race shows the first update of the race, and with --send runs it.
func (f testFlags) race(ctx context.Context, sh *Shell, cfg channels.Config, env connectors.Env, u events.Update) error {
	can := capabilities(cfg)
	if err := guardrace.Check(can.Guard); err != nil {
		return fmt.Errorf("channel %s: %w", cfg.Name, err)
	}
	sample, err := f.try(ctx, cfg, env, u, false)
	if sample == nil {
		return err
	}
	if err != nil || sample.Decision != tryout.Send || !f.send {
		unsent := fmt.Sprintf("nothing was sent; --send has %d writers race for this key in %d rounds and then deletes it%s", guardrace.Writers, guardrace.Rounds, stays(can))
		if err == nil && sample.Decision == tryout.Filtered && f.send {
			err = fmt.Errorf("%w: the filter keeps it back, and nothing can race", tryout.ErrFailed)
		}
		return errors.Join(err, writeTried(sh, sample, unsent))
	}
	if !sh.JSON {
		_, err := fmt.Fprintf(sh.Out, "guard:    %s: %s\nkey:      %s of channel %s: %d writers race for it in %d rounds, then it is deleted%s\npayload:  %s\n",
			can.Guard, can.Guard.Meaning(), clean(u.Key), cfg.Name, guardrace.Writers, guardrace.Rounds, stays(can), clean(sample.Payload))
		if err != nil {
			return err
		}
	}
	report, err := tryout.Race(ctx, kinds.All(), cfg, env, u)
	if report == nil {
		return err
	}
	report.Payload = sample.Payload
	err = errors.Join(err, writeRaced(sh, report))
	if err == nil && report.Result == tryout.Broken {
		return errFound
	}
	return err
}

// stays says what of the key stays at the target.
func stays(can connectors.Capabilities) string {
	if can.KeepsTombstone {
		return "; its tombstone stays at the target"
	}
	return ""
}

// mostViolations is how many people are shown; --json has all.
const mostViolations = 10

func writeRaced(sh *Shell, r *tryout.GuardReport) error {
	if sh.JSON {
		return sh.WriteJSON(r)
	}
	subject := "the target"
	if r.Guard == connectors.GuardByFormat {
		subject = "your receiver"
	}
	var b strings.Builder
	for _, v := range r.Violations[:min(len(r.Violations), mostViolations)] {
		fmt.Fprintf(&b, "round %-3d %s %s\n", v.Round, subject, v)
	}
	if more := len(r.Violations) - mostViolations; more > 0 {
		fmt.Fprintf(&b, "          and %d more, which --json lists\n", more)
	}
	if r.Left != "" {
		fmt.Fprintf(&b, "left:     the key is still at the target: %s\n", clean(oneLine(r.Left)))
	}
	if !r.Readable {
		b.WriteString("judged:   the answers alone: the target cannot be read\n")
	}
	switch r.Result {
	case tryout.Holds:
		fmt.Fprintf(&b, "result:   the guard held in %d rounds\n", r.Rounds)
	case tryout.Broken:
		fmt.Fprintf(&b, "result:   %s: %d violations in %d rounds\n", sh.Strong("the guard does not hold"), len(r.Violations), r.Rounds)
	default:
		fmt.Fprintf(&b, "result:   the race ended after %d rounds\n", r.Rounds)
	}
	_, err := io.WriteString(sh.Out, b.String())
	return err
}
