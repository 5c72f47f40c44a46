package delivery

import (
	"errors"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/delivery/internal/lanes"
	"github.com/hms-utl/extsync/pkg/events"
)

// errAttempted says that what is remembered of a key cannot be set now.
var errAttempted = errors.New("an update of the key is being attempted; ask again")

// setRefs sets all that is remembered of a key, through the log like everything else, and
// calls done when the bucket, which people read, says so too.
func (c control) setRefs(key string, refs events.Refs, done func(error)) {
	t := c.t
	enc, err := events.EncodeKey(key)
	if err == nil {
		err = refs.Check()
	}
	if err != nil {
		done(err)
		return
	}
	set := lanes.Commit{
		Key: t.view.Pin(enc), Entry: wire.Entry{Key: key, Settlement: events.Settlement{Outcome: wire.RefsSet, At: timestamp()}, Refs: refs},
		Done: func() { t.view.Ask(done) },
	}
	t.begin()
	defer t.end()
	if !t.lanes.SetRefs(set) {
		go done(errAttempted)
		return
	}
	t.log.Info().Str("key", key).Int("values", len(refs)).Msg("an administrator set what is remembered of a key")
}
