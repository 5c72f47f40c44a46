package operate

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/events"
)

// ImportOptions say what to import.
type ImportOptions struct {
	Route events.Route
	// In may still be read from, once, after an import has failed.
	In io.Reader
	// From is where in the input to begin, in bytes; In is there already. Line is
	// the number of lines before it.
	From, Line int64
	// InFlight is how many updates are on their way to the broker at once.
	InFlight int
	// Refs has what lines say under "refs" remembered of their keys, before anything is
	// published. Where it is false such lines are rejected.
	Refs bool
	// CSV, if it is not nil, says how the input's records become updates; its header was read.
	CSV *CSV
	// Arrivals, if it is not nil, is told of what was published.
	Arrivals *Arrivals
	// Reject takes what cannot be published, in the order of the input.
	Reject func(ImportReject) error
	// Progress is told now and then how far all is done. Neither is called concurrently.
	Progress func(ImportSummary) error
	// Waits is told each time that something has to be tried again, and why; nil: nobody is.
	// It may be called concurrently.
	Waits func(why error)
}

// An ImportReject is a line that was not published.
type ImportReject struct {
	Line   int64  `json:"line"`
	Reason string `json:"reason"`
	// Input is the line, its beginning if it is too long.
	Input string `json:"input"`
}

// An ImportSummary counts lines. All up to Offset in the input are done.
type ImportSummary struct {
	Offset     int64 `json:"offset"`
	Line       int64 `json:"line"`
	Stored     int64 `json:"stored"`
	Duplicates int64 `json:"duplicates"` // were there before
	Stale      int64 `json:"stale"`      // the channel has a newer version
	Rejected   int64 `json:"rejected"`
}

// ErrNotStored says that the broker is there and answers, but not when it is to store
// something.
var ErrNotStored = errors.New("the broker answers, but stores nothing: its disk may be full, its log says more")

const (
	importEvery = 500 * time.Millisecond // between two reports of progress
	// importRetry and importTries bound how long an import waits for a broker that
	// does not answer: about two minutes.
	importRetry = 2 * time.Second
	importTries = 60
	// importSilent is after how many publishes without an answer an import ends, if the
	// broker answers all else: its disk is full or fails, and a server whose write has
	// failed says so in its log only.
	importSilent = 2
	// importIdle is for how long updates on their way wait for the next line of the input
	// to follow them, before what has become of them is looked at.
	importIdle = 10 * time.Millisecond
)

// Import publishes one update for each line of the input, many at once, and those of one
// key in their order. It stops at what concerns all lines, such as a channel that is
// full; the summary then says how far all is done, and going on from there is safe, as
// is beginning anew. It holds a bounded number of lines, however long one of them takes.
func (c *Client) Import(ctx context.Context, o ImportOptions) (ImportSummary, error) {
	publisher, err := c.Publisher(ctx)
	if err != nil {
		return ImportSummary{Offset: o.From, Line: o.Line}, err
	}
	registry, err := c.Registry(ctx)
	if err != nil {
		return ImportSummary{Offset: o.From, Line: o.Line}, err
	}
	im := newImporter(o)
	im.names, im.publishAll, im.publish, im.setRefs, im.answers = c.Names, publisher.PublishAll, publisher.Publish, registry.SetRefs, c.answers
	err = im.run(ctx)
	return im.sum, errors.Join(err, o.Progress(im.sum))
}

// An importer publishes what an importReader reads. But for the fields of that, one
// goroutine has it.
type importer struct {
	importReader

	publishAll func(context.Context, iter.Seq[events.Update], int) iter.Seq2[events.Receipt, error]
	publish    func(context.Context, events.Update) (events.Receipt, error)

	sum    ImportSummary
	next   *importItem   // taken from the reader, and not ready yet
	window []*importItem // not done, in the order of the input
	failed error         // of what the window was told meanwhile
	told   time.Time
}

func newImporter(o ImportOptions) *importer {
	return &importer{importReader: newImportReader(o), sum: ImportSummary{Offset: o.From, Line: o.Line}}
}

// run publishes in runs without a gap: while the input has a line to follow, what is on
// its way is as much as is allowed; where it has none for a moment, all is seen to its
// end, so that a pipe which gives a line now and then has it stored at once.
func (im *importer) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	im.start(ctx)
	for im.await(ctx) {
		for receipt, err := range im.publishAll(ctx, im.updates(ctx), im.o.InFlight) {
			if err := errors.Join(im.failed, im.settle(ctx, receipt, err)); err != nil {
				return err
			}
		}
		if im.failed != nil {
			return im.failed
		}
	}
	if ctx.Err() != nil { // the reader may still be at it
		return ctx.Err()
	}
	return im.err
}

// await waits for the next line. It returns false at the end of the input.
func (im *importer) await(ctx context.Context) bool {
	if im.next == nil {
		select {
		case im.next = <-im.lines:
		case <-ctx.Done():
		}
	}
	return im.next != nil
}

// updates gives what is to be published, until no line follows for a moment.
func (im *importer) updates(ctx context.Context) iter.Seq[events.Update] {
	return func(yield func(events.Update) bool) {
		for im.failed == nil {
			it := im.take(ctx)
			if it == nil {
				return
			}
			im.window = append(im.window, it)
			if it.publish {
				if im.o.Arrivals != nil {
					im.o.Arrivals.Sent(it.u.Key)
				}
				if !yield(it.u) {
					return
				}
				continue
			}
			im.failed = im.pass(ctx)
		}
	}
}

// take returns the next line when it is ready, nil if none is within importIdle.
func (im *importer) take(ctx context.Context) *importItem {
	if im.next == nil {
		select {
		case im.next = <-im.lines:
		default:
		}
	}
	if im.next == nil || im.next.remembered != nil {
		im.wait(ctx)
	}
	it := im.next
	if it != nil && it.remembered == nil {
		im.next = nil
		return it
	}
	return nil
}

// wait waits for the next line to be there, and to be ready.
func (im *importer) wait(ctx context.Context) {
	idle := time.NewTimer(importIdle)
	defer idle.Stop()
	if im.next == nil {
		select {
		case im.next = <-im.lines:
		case <-idle.C:
		case <-ctx.Done():
		}
	}
	if im.next == nil || im.next.remembered == nil {
		return
	}
	select {
	case <-im.next.remembered:
		im.next.remembered = nil
	case <-idle.C:
	case <-ctx.Done():
	}
}

// settle notes what became of the oldest update on its way.
func (im *importer) settle(ctx context.Context, receipt events.Receipt, err error) error {
	it := im.window[0]
	err = im.retry(ctx, it, err, func() (err error) {
		receipt, err = im.publish(ctx, it.u)
		return err
	})
	switch {
	case err == nil && receipt.Duplicate:
		im.sum.Duplicates++
	case err == nil:
		im.sum.Stored++
	case errors.Is(err, events.ErrStale):
		im.sum.Stale++
	default:
		it.err = err
		err = im.reject(it)
		if err != nil {
			return err
		}
	}
	if it.err == nil && im.o.Arrivals != nil {
		im.o.Arrivals.Taken(it.u.Key, it.u.Version, receipt.Duplicate || err != nil)
	}
	if err := im.finish(); err != nil {
		return err
	}
	return im.pass(ctx)
}

// pass finishes the lines that are not published and have none before them that is.
func (im *importer) pass(ctx context.Context) error {
	for len(im.window) > 0 && !im.window[0].publish {
		if it := im.window[0]; it.err != nil {
			if err := im.reject(it); err != nil {
				return err
			}
		}
		if err := im.finish(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// reject writes a line down that was refused. It fails with what concerns more than the
// line.
func (im *importer) reject(it *importItem) error {
	if !refuses(it.err) {
		return it.err
	}
	im.sum.Rejected++
	return im.o.Reject(ImportReject{Line: it.first, Reason: words.Of(it.err), Input: string(it.input)})
}

// finish moves the offset over the oldest line.
func (im *importer) finish() error {
	it := im.window[0]
	im.window[0] = nil
	im.window = im.window[1:]
	im.sum.Offset, im.sum.Line = it.end, it.line
	im.room.Release(it.held)
	if time.Since(im.told) < importEvery {
		return nil
	}
	im.told = time.Now()
	return im.o.Progress(im.sum)
}
