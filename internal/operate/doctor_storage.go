package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// How full a stream or an account may be, in hundredths. From doctorFull on it counts
// as full: publishers refuse new keys of a latest channel at 80.
const (
	doctorFill = 70
	doctorFull = 80
)

// storeProbe is for how long a stream may leave the question whether it can store
// unanswered.
const storeProbe = 3 * time.Second

// mend makes streams that are gone again, and says what they held.
func (d *doctor) mend(ctx context.Context) error {
	losses, err := channels.Mend(ctx, d.c.JS, d.c.Names, d.c.storage)
	for _, l := range losses {
		d.add(LevelWarning, "streams", l.Stream, "was gone, is made again empty: "+l.Lost, "do what that says; nothing else is left to mend here")
		d.found[len(d.found)-1].Fixed = true
	}
	return err
}

// orphans looks for streams of channels that the registry does not know: it was lost,
// or making a channel was cut off.
func (d *doctor) orphans(ctx context.Context, registry *channels.Registry) error {
	entries, err := registry.List(ctx)
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, e := range entries {
		known[wire.UpdateStream(d.c.Names, events.ToChannel(e.Config.Name))] = true
	}
	topics, err := registry.Topics(ctx)
	if err != nil {
		return err
	}
	for _, t := range topics {
		known[wire.UpdateStream(d.c.Names, events.ToTopic(t.Topic.Name))] = true
	}
	names := d.c.JS.StreamNames(ctx)
	for name := range names.Name() {
		if wire.IsUpdateStream(d.c.Names, name) && !known[name] {
			d.add(LevelProblem, "channel streams", name, "belongs to no channel and no topic: what is in it is not delivered",
				"apply the configuration of its channel or topic again, or delete the stream")
		}
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list the streams: %w", err)
	}
	return nil
}

// fill says how full something is, if that is worth saying.
func (d *doctor) fill(subject string, used, most int64, advice string) bool {
	percent := used * 100 / most
	switch {
	case percent >= doctorFull:
		d.add(LevelProblem, "room", subject, fmt.Sprintf("is full: %d %% (%d of %d bytes)", percent, used, most), advice)
	case percent >= doctorFill:
		d.add(LevelWarning, "room", subject, fmt.Sprintf("is %d %% full (%d of %d bytes)", percent, used, most), advice)
	default:
		return false
	}
	return true
}

// account looks at what the broker offers to this account.
func (d *doctor) account(ctx context.Context) error {
	info, err := d.c.JS.AccountInfo(ctx)
	if err != nil {
		return fmt.Errorf("ask what the broker offers: %w", err)
	}
	const advice = "raise the account's limit at the broker, or lower max_bytes and --storage-... and apply"
	if most := info.Limits.MaxStore; most > 0 {
		d.fill("the account", int64(info.Store), most, advice) //nolint:gosec // a size of storage fits
	}
	for name, tier := range info.Tiers {
		if most := tier.Limits.MaxStore; most > 0 {
			d.fill("the account's tier "+name, int64(tier.Store), most, advice) //nolint:gosec // likewise
		}
	}
	return nil
}

// room warns of streams that fill up. Those that drop their oldest are meant to
// be full.
func (d *doctor) room(ctx context.Context, _ *channels.Registry) error {
	full := false
	list := d.c.JS.ListStreams(ctx)
	for info := range list.Info() {
		most := info.Config.MaxBytes
		if !wire.OwnsStream(d.c.Names, info.Config.Name) || most <= 0 || info.Config.Discard == jetstream.DiscardOld {
			continue
		}
		if d.fill(info.Config.Name, int64(info.State.Bytes), most, //nolint:gosec // a stream's size fits
			"raise max_bytes of the channel, or --storage-... and apply; see what keeps its updates") {
			full = true
		}
	}
	if err := list.Err(); err != nil {
		return fmt.Errorf("list the streams: %w", err)
	}
	if !full {
		d.add(LevelOK, "room", "", fmt.Sprintf("no stream is %d %% full", doctorFill), "")
	}
	return nil
}

// stores finds streams whose server could not write: its disk is full or fails. Such a
// one answers every question and no publish. A purge of a subject that no message has
// changes nothing, but is refused with the reason.
func (d *doctor) stores(ctx context.Context, _ *channels.Registry) error {
	var streams []string
	names := d.c.JS.StreamNames(ctx)
	for name := range names.Name() {
		if wire.OwnsStream(d.c.Names, name) {
			streams = append(streams, name)
		}
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list the streams: %w", err)
	}
	failed := make([]error, len(streams))
	var group errgroup.Group
	group.SetLimit(lookAtOnce)
	for i, name := range streams {
		group.Go(func() error {
			failed[i] = d.c.probeStore(ctx, name)
			return nil
		})
	}
	_ = group.Wait() // none fails
	bad := false
	for i, err := range failed {
		if err != nil {
			bad = true
			d.add(LevelProblem, "disk", streams[i], "stores nothing: "+words.Of(err),
				"free the disk of the broker, then start the broker again: it does not try to write before; its log says more")
		}
	}
	if !bad {
		d.add(LevelOK, "disk", "", "the broker can write every stream", "")
	}
	return nil
}

// probeStore asks a stream's leader whether it could write so far.
func (c *Client) probeStore(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, storeProbe)
	defer cancel()
	stream, err := c.JS.Stream(ctx, name)
	if err == nil && !stream.CachedInfo().Config.DenyPurge { // the audit log lies where the others do
		err = stream.Purge(ctx, jetstream.WithPurgeSubject(wire.Nothing(c.Names)))
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) || wire.MeaningOf(err) == wire.Misconfigured { // said elsewhere
		return nil
	}
	return err
}
