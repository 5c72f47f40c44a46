package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// target looks at a channel's target from here.
func (d *doctor) target(ctx context.Context, cfg channels.Config) {
	d.guard(cfg)
	if d.noTargets {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(doctorProbe, cfg.Timeout.D()))
	defer cancel()
	var notes notes
	target, done, err := d.c.openTarget(ctx, cfg, notes.add)
	if errors.Is(err, connectors.ErrSecret) || errors.Is(err, connectors.ErrNotAllowed) {
		d.add(LevelWarning, "target", cfg.Name, words.Of(err), "run doctor where the workers run, with their environment and settings")
		return
	}
	if err != nil {
		d.add(LevelProblem, "target", cfg.Name, words.Of(err), "correct the channel's configuration and apply it")
		return
	}
	defer done()
	if !target.Can().Probes {
		d.add(LevelOK, "target", cfg.Name, "can be opened; its kind cannot be probed", "")
		return
	}
	if err := target.Probe(ctx); err != nil {
		d.add(LevelProblem, "target", cfg.Name, words.Of(err), "see that the target runs, can be reached from here, and lets the channel's credentials in")
		return
	}
	d.add(LevelOK, "target", cfg.Name, strings.Join(append([]string{"is there"}, notes.all()...), "; "), "")
}

// notes are lines for people that a connector has written. They are safe for concurrent use.
type notes struct {
	mu    sync.Mutex
	lines []string
}

// mostNotes bounds how many are shown.
const mostNotes = 3

func (n *notes) add(line string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.lines) < mostNotes {
		n.lines = append(n.lines, line)
	}
}

func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.lines)
}

// guard says how strong a channel's guard is, and how it is tried where it depends on
// more than one statement of the target.
func (d *doctor) guard(cfg channels.Config) {
	kind, err := d.c.Catalog.Kind(cfg.Connector.Kind)
	if err != nil {
		return // opening it says so
	}
	guard := kind.With(cfg.Connector.Config).Guard
	message := fmt.Sprintf("%s: %s", guard, guard.Meaning())
	if guard == connectors.GuardConditional || guard == connectors.GuardByFormat {
		message += fmt.Sprintf("; 'extsync channels test %s --guard' shows whether it holds", cfg.Name)
	}
	d.add(LevelOK, "guard", cfg.Name, message, "")
}
