package operate

import (
	"context"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/deadletters"
)

// resolved looks for dead letters that are settled: a killed worker leaves some.
func (d *doctor) resolved(ctx context.Context, _ *channels.Registry) error {
	store, err := d.c.DeadLetters(ctx)
	if err != nil {
		return err
	}
	filter := deadletters.Filter{State: deadletters.StateResolved}
	n, err := store.Count(ctx, filter)
	if err != nil {
		return err
	}
	if n == 0 {
		d.add(LevelOK, "dead letters", "", "none is left that is resolved", "")
		return nil
	}
	if d.fix {
		sum, err := store.DiscardAll(ctx, filter, nil)
		if err != nil {
			return err
		}
		d.add(LevelOK, "dead letters", "", fmt.Sprintf("%d resolved ones were removed", sum.Discarded), "")
		d.found[len(d.found)-1].Fixed = true
		return nil
	}
	d.add(LevelWarning, "dead letters", "", fmt.Sprintf("%d are resolved and take room", n), "run 'extsync doctor --fix'")
	return nil
}

// deleted looks for channels that can no longer be restored.
func (d *doctor) deleted(ctx context.Context, registry *channels.Registry) error {
	entries, err := registry.List(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, e := range entries {
		if e.Deleted.IsZero() || now.Before(e.Deleted.Add(channels.DeletedRetention)) {
			continue
		}
		if !d.fix {
			d.add(LevelWarning, "deleted channel", e.Config.Name, "can no longer be restored and takes room", "run 'extsync doctor --fix'")
		}
	}
	if !d.fix {
		return nil
	}
	swept, err := registry.Sweep(ctx, now)
	for _, name := range swept {
		d.add(LevelOK, "deleted channel", name, "was removed", "")
		d.found[len(d.found)-1].Fixed = true
	}
	return err
}
