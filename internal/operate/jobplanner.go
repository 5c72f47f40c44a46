package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// A planner says what would become of letters.
type planner struct {
	c     *Client
	of    string // the channel of the job; "" for all
	crew  *workers.Crew
	known map[string]*planned
}

// planned is what is known of a channel.
type planned struct {
	entry   channels.Entry
	gone    bool
	health  why.Health
	waits   bool   // it has updates without an outcome
	workers []bool // which partitions have one
}

// note is planNote of the channel of the job, or of those whose letters were looked at.
func (p *planner) note() string {
	const most = 5
	if k := p.known[p.of]; k != nil && !k.gone {
		return planNote(k.entry, k.health)
	}
	var held []string
	for name, k := range p.known {
		if !k.gone && !k.entry.Paused() && planNote(k.entry, k.health) != "" {
			held = append(held, name)
		}
	}
	if len(held) == 0 {
		return ""
	}
	slices.Sort(held)
	more := ""
	if n := len(held) - most; n > 0 {
		held, more = held[:most], fmt.Sprintf(" and %d more", n)
	}
	return "blocked, or with a target that does not answer, so that nothing is delivered there for now: " + strings.Join(held, ", ") + more
}

func (p *planner) judge(ctx context.Context, action jobs.Action, b deadletters.Batch) ([]string, error) {
	out := make([]string, len(b.Entries))
	var unsure []int
	for i := range b.Entries {
		e := &b.Entries[i]
		if action == jobs.Discard {
			out[i] = outDiscarded
			if e.State == deadletters.StatePending {
				out[i] = outPending
			}
			continue
		}
		k, err := p.channel(ctx, e.Channel)
		if err != nil {
			return nil, err
		}
		out[i] = p.word(k, e, &b.Records[i])
		if out[i] == outDelivered && k.waits {
			unsure = append(unsure, i)
		}
	}
	return out, p.busy(ctx, b, unsure, out)
}

// word says what a worker would do, if nothing else of the key is on its way.
func (p *planner) word(k *planned, e *deadletters.Entry, rec *wire.Record) string {
	if e.Malformed != "" {
		return outMalformed
	}
	if k.gone {
		return outNoChannel
	}
	against := rec.Applied.Version
	if order, err := against.Compare(rec.Settled.Version); k.entry.Config.Mode == channels.Latest && (against.IsZero() || err == nil && order < 0) {
		against = rec.Settled.Version
	}
	order, err := e.Version.Compare(against)
	switch {
	case k.entry.Paused() && p.of == "":
		return outPaused
	case !k.entry.Paused() && !k.workers[wire.Partition(e.EncodedKey, len(k.workers))]: // of a paused one the job waits
		return outNoWorker
	case !against.IsZero() && err == nil && order < 0:
		return outSuperseded
	case rec.Applied.Version == e.Version: // it is open, so what the target holds is other content
		return outFailed
	default:
		return outDelivered
	}
}

func (p *planner) channel(ctx context.Context, name string) (*planned, error) {
	if k := p.known[name]; k != nil {
		return k, nil
	}
	k := &planned{}
	p.known[name] = k
	registry, err := p.c.Registry(ctx)
	if err != nil {
		return nil, err
	}
	k.entry, err = registry.Get(ctx, name)
	if errors.Is(err, channels.ErrNotFound) || errors.Is(err, events.ErrName) || err == nil && !k.entry.Deleted.IsZero() {
		k.gone = true
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	if p.crew == nil {
		crew, err := workers.Read(ctx, p.c.JS, p.c.Names)
		if err != nil {
			return nil, err
		}
		p.crew = &crew
	}
	stands, err := standing.Looker{JS: p.c.JS, Names: p.c.Names, Registry: registry}.Channel(ctx, k.entry, *p.crew)
	if err != nil {
		return nil, err
	}
	k.waits, k.health = stands.Undelivered > 0, stands.Health
	k.workers = make([]bool, max(k.entry.Config.Partitions, 1))
	for _, part := range stands.Partitions {
		k.workers[part.Partition] = part.Worker != ""
	}
	return k, nil
}

// busy finds those whose key has a newer update without an outcome.
func (p *planner) busy(ctx context.Context, b deadletters.Batch, unsure []int, out []string) error {
	streams := map[string][]int{}
	for _, i := range unsure {
		name := wire.UpdateStream(p.c.Names, p.known[b.Entries[i].Channel].entry.Config.Route())
		streams[name] = append(streams[name], i)
	}
	for stream, of := range streams {
		subjects := make([]string, len(of))
		for n, i := range of {
			subjects[n] = wire.StoredUpdate(p.c.Names, p.known[b.Entries[i].Channel].entry.Config.Route(), b.Entries[i].EncodedKey)
		}
		found, err := wire.ReadLastFromLeader(ctx, p.c.JS, stream, subjects)
		if err != nil {
			return err
		}
		for n, i := range of {
			if found[n] != nil && waits(found[n], &b.Records[i]) {
				out[i] = outBusy
			}
		}
	}
	return nil
}

// waits reports whether a key's last message in its stream has no outcome.
func waits(msg *jetstream.RawStreamMsg, rec *wire.Record) bool {
	version, err := versioning.Parse(msg.Header.Get(events.HeaderVersion))
	if err != nil {
		return false
	}
	_, settled := rec.OutcomeOf(versioning.Tag{Version: version})
	return !settled
}
