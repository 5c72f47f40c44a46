package bench

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers "pgx"
	_ "modernc.org/sqlite"             // registers "sqlite"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// pollEvery is how often it is looked whether all is delivered. The times that
// count are noted where things happen.
const pollEvery = 20 * time.Millisecond

// errWrong says that the target does not hold what it should: there is nothing
// to report then.
var errWrong = errors.New("the target's end state is wrong")

func quiet() zerolog.Logger { return zerolog.Nop() }

func workerConfig(url string) config.Config {
	cfg := config.Default()
	cfg.NATS.URL = url
	return cfg
}

// drainBacklog measures how fast a backlog is delivered, and checks that it was
// delivered rightly.
func drainBacklog(ctx context.Context, o *Options, s setup, pg *testdb.Server) (m Measure, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b, err := newBed(ctx, o, s, pg)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.fill(ctx); err != nil {
		return m, fmt.Errorf("make the backlog: %w", err)
	}
	var f *process
	if s.workers > 0 {
		err = b.startWorkers(ctx)
	} else {
		f, err = b.startFloor(ctx, false)
	}
	if err != nil {
		return m, err
	}
	took, err := b.await(ctx, f)
	if err != nil {
		return m, err
	}
	// What a latest channel does not keep counts, too: its newer version stands
	// for it.
	updates := 0
	for _, accepted := range b.accepted {
		for _, a := range accepted {
			if b.counts(a.Key) {
				updates++
			}
		}
	}
	if m, err = b.measure(float64(updates)/took.Seconds(), took, updates); err != nil {
		return m, err
	}
	return m, b.check(ctx)
}

// counts reports whether a key is waited for.
func (b *bed) counts(key string) bool { return !b.s.partial || !failing(key) }

// await returns how long it took from the first confirmed delivery to the last:
// by the sink's clock, by the floor's, or by the acks, whichever is later.
func (b *bed) await(ctx context.Context, f *process) (time.Duration, error) {
	var over span
	if f != nil {
		if err := f.read(&over); err != nil {
			return 0, err
		}
	}
	if b.s.target == toHTTP {
		state, err := b.awaitSink(ctx)
		if err != nil {
			return 0, err
		}
		over.First = state.First
		if state.Last.After(over.Last) {
			over.Last = state.Last
		}
	}
	if b.s.workers > 0 {
		want := 0
		for _, accepted := range b.accepted {
			for _, a := range left(accepted, b.s.mode) {
				if b.counts(a.Key) {
					want++
				}
			}
		}
		for b.acks.Load() < int64(want) {
			if err := pause(ctx); err != nil {
				return 0, fmt.Errorf("%d of %d acks came: %w", b.acks.Load(), want, err)
			}
		}
		if over.First.IsZero() {
			over.First = time.Unix(0, b.firstAck.Load())
		}
		if last := time.Unix(0, b.lastAck.Load()); last.After(over.Last) {
			over.Last = last
		}
	}
	return over.Last.Sub(over.First), nil
}

func (b *bed) awaitSink(ctx context.Context) (sinkState, error) {
	var want int64
	for _, accepted := range b.accepted {
		want += newestSum(accepted, b.counts)
	}
	for {
		var state sinkState
		if err := fetch(ctx, b.sinkAt+"/state", &state); err != nil {
			return state, err
		}
		if b.s.partial {
			state.Newest -= state.Failing
		}
		if state.Newest >= want || b.s.channels > 1 && state.Applied >= b.s.updates {
			return state, nil
		}
		if err := pause(ctx); err != nil {
			return state, fmt.Errorf("%w: the newest versions add up to %d instead of %d", errWrong, state.Newest, want)
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pollEvery):
		return nil
	}
}

// check compares the target with what was published; of extsync it proves the
// guarantees over all that the target has seen.
func (b *bed) check(ctx context.Context) error {
	if b.s.channels > 1 { // the sink does not tell channels apart; the acks have come
		return nil
	}
	name := b.channelName(0)
	accepted := b.only(b.accepted[name])
	h, err := b.history(ctx)
	if err != nil {
		return err
	}
	if b.s.workers == 0 {
		return sameState(h, accepted)
	}
	if err := b.stopRunners(); err != nil {
		return err
	}
	log := faults.NewLogReader(b.client.JS, b.client.Names, name)
	if err := log.CatchUp(ctx); err != nil {
		return err
	}
	outcomes := &faults.Outcomes{Records: log.Records}
	for _, e := range log.Entries {
		if b.counts(e.Key) {
			outcomes.Entries = append(outcomes.Entries, e)
		}
	}
	if err := faults.Check(h, accepted, outcomes, b.s.mode); err != nil {
		return fmt.Errorf("%w: %w", errWrong, err)
	}
	return nil
}

// only leaves out the keys that always fail.
func (b *bed) only(accepted []faults.Accepted) []faults.Accepted {
	var out []faults.Accepted
	for _, a := range accepted {
		if b.counts(a.Key) {
			out = append(out, a)
		}
	}
	return out
}

// sameState checks what can be asked of a loop without order: that each update
// was delivered, or in a database that the newest is there.
func sameState(h faults.History, accepted []faults.Accepted) error {
	type version struct {
		key string
		versioning.Version
	}
	seen := map[version]bool{}
	for _, w := range h.Writes {
		seen[version{w.Key, w.Version}] = true
	}
	for _, a := range left(accepted, channels.Latest) {
		if !seen[version{a.Key, a.Version}] {
			return fmt.Errorf("%w: version %s of key %s is missing", errWrong, a.Version, a.Key)
		}
	}
	return nil
}

// history returns what the target has seen. A database keeps the newest versions
// only, which are all there are in the cases that use one.
func (b *bed) history(ctx context.Context) (faults.History, error) {
	h := faults.History{Held: map[string]versioning.Tag{}}
	if b.s.target == toHTTP {
		var calls []call
		if err := fetch(ctx, b.sinkAt+"/calls", &calls); err != nil {
			return h, err
		}
		for _, c := range calls {
			if !b.counts(c.Key) {
				continue
			}
			h.Calls = append(h.Calls, faults.Call{Key: c.Key, Version: c.Version, From: c.From, To: c.To, Answer: "204"})
			if c.Applied {
				tag := versioning.Tag{Version: c.Version, Digest: c.Digest}
				h.Writes = append(h.Writes, faults.Write{Key: c.Key, Op: c.Op, At: c.To, Tag: tag})
				h.Held[c.Key] = tag
			}
		}
		slices.SortFunc(h.Calls, func(a, b faults.Call) int { return cmp.Compare(a.From, b.From) })
		return h, nil
	}
	return h, b.readTable(ctx, &h)
}

func (b *bed) readTable(ctx context.Context, h *faults.History) (err error) {
	driver, digest := "pgx", "digest"
	if b.s.target == toSQLite {
		driver = toSQLite
	}
	if b.s.workers == 0 {
		digest = "''"
	}
	db, err := sql.Open(driver, b.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	found, err := db.QueryContext(ctx, "SELECT key, version, "+digest+" FROM copies")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, found.Close()) }()
	for found.Next() {
		var key, sum string
		var n int64
		if err := found.Scan(&key, &n, &sum); err != nil {
			return err
		}
		var tag versioning.Tag
		if tag.Version, err = versioning.Number(n); err != nil {
			return err
		}
		if err := tag.Digest.UnmarshalText([]byte(sum)); err != nil {
			return err
		}
		h.Held[key] = tag
		h.Writes = append(h.Writes, faults.Write{Key: key, Tag: tag})
	}
	return found.Err()
}
