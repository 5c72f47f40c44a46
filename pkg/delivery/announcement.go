package delivery

import (
	"context"
	"errors"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// openFailed is a connector that could not be opened.
type openFailed struct {
	err         error
	since, next time.Time
}

// again returns the failure after one more.
func (f openFailed) again(err error) openFailed {
	now := time.Now()
	if f.since.IsZero() {
		f.since = now
	}
	f.err, f.next = err, now.Add(openRetry)
	return f
}

// announcement returns what the worker tells of itself: the value of its record in
// the bucket of workers. What waits goes to the worker's Status, too.
func (m *manager) announcement() ([]byte, error) {
	waits := m.waits(time.Now())
	m.stats.tell(func(s *Status) { s.Waits = waits })
	host, _ := os.Hostname() // only helps to find the process
	rec := workers.Record{
		Worker: m.o.ID, Host: host, PID: os.Getpid(), Version: programVersion(), Started: m.started.UTC().Truncate(time.Second),
		TTL: m.b.leaseTTL.Milliseconds(), Draining: m.draining, Left: m.left, Working: len(m.runs), Waits: slices.Clone(waits),
	}
	for shard, le := range m.leases {
		if le.Context().Err() == nil {
			rec.Shards = append(rec.Shards, shard)
		}
	}
	for shard := range m.desiredShards() {
		if m.leases[shard] == nil {
			rec.Wants = append(rec.Wants, shard)
		}
	}
	slices.Sort(rec.Shards)
	slices.Sort(rec.Wants)
	return rec.Encode()
}

// programVersion returns the version of the program that the worker runs in.
func programVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}

// waits lists the channels and partitions of this worker that do not move, the most
// urgent first. Partitions that wait for the same reason are one.
func (m *manager) waits(now time.Time) []workers.Wait {
	var out []workers.Wait
	for _, name := range slices.Sorted(maps.Keys(m.entries)) {
		e := m.entries[name]
		if e.Gated { // the registry says so
			continue
		}
		if r := m.runs[name]; r != nil {
			out = append(out, r.waits(now, m.o.StallAfter)...)
			continue
		}
		if !m.ownsAny(e) {
			continue
		}
		if f, ok := m.failed[name]; ok {
			out = append(out, f.wait(name))
		} else if since := m.opening[name]; !since.IsZero() {
			w := workers.Wait{Channel: name, Code: why.Opening, Message: "the connector is being opened", Since: since}
			if w.Stalled = now.Sub(since) >= m.o.StallAfter; w.Stalled {
				w.Code, w.Message = why.ConnectorFailed, "opening the connector does not come to an end"
			}
			out = append(out, w)
		}
	}
	slices.SortStableFunc(out, func(a, b workers.Wait) int { return why.Compare(a.Code, b.Code) })
	return out
}

func (f openFailed) wait(channel string) workers.Wait {
	w := workers.Wait{
		Channel: channel, Code: why.ConnectorFailed, Message: workers.Shorten(oneLine(f.err)), Since: f.since, Next: f.next, Stalled: true,
	}
	switch {
	case errors.Is(f.err, connectors.ErrNotAllowed):
		w.Code = why.NotAllowed
	case errors.Is(f.err, connectors.ErrSecret):
		w.Code = why.SecretMissing
	}
	return w
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// waits lists the channel's partitions that do not move. It is for the manager.
func (r *channelRun) waits(now time.Time, stallAfter time.Duration) []workers.Wait {
	var out []workers.Wait
	for _, p := range slices.Sorted(maps.Keys(r.partitions)) {
		w, waits := r.partitions[p].wait(now, stallAfter)
		if !waits {
			continue
		}
		w.Message = workers.Shorten(w.Message)
		same := slices.IndexFunc(out, func(o workers.Wait) bool { return o.Code == w.Code && o.Message == w.Message && o.Stalled == w.Stalled })
		if same < 0 {
			out = append(out, w)
			continue
		}
		out[same].Partitions = append(out[same].Partitions, p)
		if w.Since.Before(out[same].Since) {
			out[same].Since = w.Since
		}
	}
	return out
}

// noteActive notes the active channels of the registry, and forgets what failed of
// others.
func (m *manager) noteActive() {
	active := make(map[string]int, len(m.entries))
	for name, e := range m.entries {
		if !e.Gated {
			active[name] = e.Config.Partitions
		}
	}
	for name := range m.failed {
		if _, wanted := m.entries[name]; !wanted {
			delete(m.failed, name)
		}
	}
	m.stats.mu.Lock()
	defer m.stats.mu.Unlock()
	m.stats.active = active
}

// Unowned asks the broker for the announcements of all workers, and returns for each
// active channel how many of its partitions no live worker says that it has. It
// reads no stream, and one small record for each worker. While Run has not read the
// registry it finds nothing.
func (w *Worker) Unowned(ctx context.Context) (map[string]int, error) {
	crew, err := workers.Read(ctx, w.o.JS, w.o.Names)
	if err != nil {
		return nil, err
	}
	w.stats.mu.Lock()
	active := w.stats.active
	w.stats.mu.Unlock()
	out := map[string]int{}
	for name, partitions := range active {
		for p := range partitions {
			if crew.Owner(workers.Shard(name, p)) == nil {
				out[name]++
			}
		}
	}
	return out, nil
}
