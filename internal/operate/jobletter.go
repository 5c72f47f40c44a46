package operate

import (
	"context"
	"errors"
	"fmt"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// act does it once.
func (w *letterWork) act(ctx context.Context, it jobs.Item) (string, error) {
	if w.discards {
		err := w.store.Discard(ctx, it.Letter)
		switch {
		case err == nil:
			return outDiscarded, nil
		case errors.Is(err, deadletters.ErrNotFound):
			return outGone, nil
		case errors.Is(err, deadletters.ErrPending):
			return outPending, nil
		case transient(err):
			return "", err
		default:
			return outFailed, err
		}
	}
	if w.channel == "" { // the letters of a paused channel do not hold the others back
		registry, err := w.c.Registry(ctx)
		if err != nil {
			return "", err
		}
		if e, err := registry.Get(ctx, it.Channel); err == nil && e.Deleted.IsZero() && e.Paused() {
			return outPaused, nil
		}
	}
	res, err := w.store.Replay(ctx, it.Letter)
	switch {
	case err == nil && res.UnderWay:
		return outUnderWay, nil
	case err == nil && res.Outcome == events.Delivered:
		return outDelivered, nil
	case err == nil:
		return outSuperseded, nil
	case errors.Is(err, deadletters.ErrMalformed):
		return outMalformed, nil
	case errors.Is(err, deadletters.ErrNotFound), errors.Is(err, deadletters.ErrResolved):
		return outGone, nil
	case errors.Is(err, deadletters.ErrPending):
		return outPending, nil
	case errors.Is(err, deadletters.ErrBusy):
		return outBusy, nil
	case channelGone(err):
		return outNoChannel, nil
	case errors.Is(err, channels.ErrNoOwner):
		return outNoWorker, err
	case transient(err):
		return "", err
	default:
		return outFailed, err
	}
}

// fate says how a letter has ended that a former runner had in hand: nobody has counted it.
func (w *letterWork) fate(ctx context.Context, it jobs.Item) (string, string, error) {
	if w.discards {
		return outDiscarded, "", nil
	}
	version, err := versioning.Parse(it.Version)
	if err != nil {
		return outGone, "", nil //nolint:nilerr // malformed ones cannot have been sent
	}
	became, err := w.store.Fate(ctx, it.Channel, it.Key, version)
	switch {
	case err != nil:
		return "", "", err
	case became == events.Delivered:
		return outDelivered, "", nil
	case became == events.Superseded:
		return outSuperseded, "", nil
	default:
		return outGone, "", nil
	}
}

// maxFailureText bounds the text of a failure, in bytes.
const maxFailureText = 400

func clipFailure(it jobs.Item, err error) string {
	return connectors.Clip(fmt.Sprintf("letter %d of channel %s: %s", it.Letter, it.Channel, words.Of(err)), maxFailureText)
}
