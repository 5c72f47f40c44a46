package channels

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// recordMost is what a ledger record takes at most, but for one with an exceptionally long key
// and long messages, in bytes.
const recordMost = 2 << 10

// quotas returns how much of each shared stream channels may take together, by its name.
func quotas(names events.Names, configs []Config) map[string]int64 {
	out := map[string]int64{}
	for i := range configs {
		c := &configs[i]
		for stream, quota := range map[string]Bytes{
			wire.KVStream(wire.LedgerBucket(names)): c.Quota.Ledger,
			wire.DeadStream(names):                  c.Quota.DeadLetters,
			wire.ParkedStream(names):                c.Quota.Parked,
		} {
			out[stream] += int64(c.Share(quota)) * int64(c.Partitions)
		}
		// What a partition has in hand when its part is used up still gets its records.
		out[wire.KVStream(wire.LedgerBucket(names))] += int64(c.Window) * recordMost * int64(c.Partitions)
	}
	return out
}

// configsWith returns the configurations of a registry's channels, of which some are about
// to be changed or made.
func configsWith(entries []Entry, changed []Config) []Config {
	byName := map[string]Config{}
	for _, e := range entries {
		byName[e.Config.Name] = e.Config.WithDefaults()
	}
	for _, c := range changed {
		byName[c.Name] = c.WithDefaults()
	}
	return slices.Collect(maps.Values(byName))
}

// known returns the entries of the registry, none if there is no registry.
func known(ctx context.Context, js jetstream.JetStream, names events.Names) ([]Entry, error) {
	registry, err := ReadRegistry(ctx, js, names)
	if errors.Is(err, events.ErrNotProvisioned) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := registry.List(ctx)
	if err != nil && len(entries) == 0 {
		return nil, err
	}
	return entries, nil
}

// reserve enlarges the shared streams where the quotas of all channels, with those of one
// that is about to be changed or made, are more than they hold.
func (r *Registry) reserve(ctx context.Context, c Config) error {
	entries, err := r.List(ctx)
	if err != nil && len(entries) == 0 {
		return err
	}
	replicas, err := r.replicas(ctx)
	if err != nil {
		return err
	}
	res := reservation{js: r.js, names: r.names, replicas: replicas}
	for stream, bytes := range quotas(r.names, configsWith(entries, []Config{c})) {
		is, err := res.look(ctx, stream)
		if err != nil {
			return fmt.Errorf("channel %s: %w", c.Name, err)
		}
		if is == nil || is.MaxBytes < 0 || is.MaxBytes >= bytes {
			continue // one that is missing is for Mend
		}
		want := *is
		want.MaxBytes = bytes
		res.parts = append(res.parts, part{want: want, is: is, bytes: bytes - is.MaxBytes})
	}
	if len(res.parts) == 0 {
		return nil
	}
	if _, err := res.make(ctx); err != nil {
		return fmt.Errorf("channel %s: %w", c.Name, err)
	}
	return nil
}
