package sim_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A witness is a client of the platform: it asks what became of updates, and tries what the
// guard must refuse. What it saw is compared with what was so.
type witness struct {
	mu    sync.Mutex
	told  map[id]events.Outcome
	wrong []error // what the guard did
}

// An id is one content of one version of a key in a channel.
type id struct{ channel, key, version, digest string }

func idOf(channel, key string, tag versioning.Tag) id {
	return id{channel, key, tag.Version.String(), tag.Digest.String()}
}

// ask asks for outcomes until ctx ends.
func (w *world) ask(ctx context.Context, p *process) {
	defer p.nc.Close()
	dice := rand.New(rand.NewPCG(w.seed, 99)) //nolint:gosec // reproducible on purpose
	ledger, err := wire.OpenLedger(ctx, p.js, w.names)
	for ; err != nil && ctx.Err() == nil; ledger, err = wire.OpenLedger(ctx, p.js, w.names) {
		time.Sleep(time.Second)
	}
	for ctx.Err() == nil {
		time.Sleep(time.Duration(dice.Int64N(int64(time.Second))))
		w.story.mu.Lock()
		n := len(w.story.accepted)
		if n == 0 {
			w.story.mu.Unlock()
			continue
		}
		a := w.story.accepted[n-1-dice.IntN(min(n, 10))] // one of late
		w.story.mu.Unlock()
		of := w.anyReader(dice).name
		rec, err := ledger.Get(ctx, of, a.Key)
		if err != nil {
			continue
		}
		w.witness.hear(of, rec, a.Tag)
	}
}

// hear notes what a record tells of a version.
func (t *witness) hear(channel string, rec wire.Record, tag versioning.Tag) {
	s, ok := rec.OutcomeOf(tag)
	if _, listed := rec.Find(tag); !ok || !listed && len(rec.Recent) == wire.RecentMax {
		return // what is no longer listed is told to be superseded, whatever it was
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told == nil {
		t.told = map[id]events.Outcome{}
	}
	if of := idOf(channel, rec.Key, tag); t.told[of] == "" {
		t.told[of] = s.Outcome
	}
}

// saw notes what the guard should not have done.
func (w *world) saw(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	w.note("%v", err)
	w.witness.mu.Lock()
	defer w.witness.mu.Unlock()
	w.witness.wrong = append(w.witness.wrong, err)
}

// tryGuard publishes what the guard must refuse: another content of a version that is no
// longer the newest one of its key.
func (w *world) tryGuard(pub *publish.Publisher, newest events.Update, older int64) {
	u := w.update(newest.Key, older)
	u.Payload = []byte(`{"stale":true}`)
	u = u.WithDefaults()
	if accepted, err := w.publishGuarded(pub, u); accepted {
		w.story.accept(u)
		w.saw("the guard took %s@%s after it had taken %s", u.Key, u.Version, newest.Version)
	} else if !errors.Is(err, events.ErrStale) && !errors.Is(err, events.ErrConflict) {
		w.saw("publish %s@%s: %v", u.Key, u.Version, err)
	}
}

// testimony returns an error if the witness saw something else than what was so in a channel.
func (w *world) testimony(r *reader, outcomes *faults.Outcomes) error {
	w.witness.mu.Lock()
	defer w.witness.mu.Unlock()
	if len(w.witness.wrong) > 0 {
		return fmt.Errorf("guarantee 2 is violated: %w, and %d more", w.witness.wrong[0], len(w.witness.wrong)-1)
	}
	if r.sentAgain || w.story.backup != nil {
		return nil // then an outcome may follow another
	}
	ended := map[id]events.Outcome{}
	for _, e := range outcomes.Entries {
		of := idOf(r.name, e.Key, versioning.Tag{Version: e.Version, Digest: e.Digest})
		if _, twice := ended[of]; !twice && wire.Final(e.Outcome) {
			ended[of] = e.Outcome
		}
	}
	for of, told := range w.witness.told {
		if of.channel != r.name {
			continue
		}
		if is, logged := ended[of]; logged && is != told || !logged && told != events.Superseded {
			return fmt.Errorf("guarantee 3 is violated: %s@%s was told to be %s, and is %q", of.key, of.version, told, is)
		}
	}
	return nil
}
