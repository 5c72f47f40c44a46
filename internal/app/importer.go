package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/pkg/events"
)

// ImportOptions say what to import.
type ImportOptions struct {
	Channel string
	In      io.Reader
	// From is where in the input to begin, in bytes; In is there already. Line is
	// the number of lines before it.
	From, Line int64
	// InFlight is how many updates are on their way to the broker at once.
	InFlight int
	// Reject takes what cannot be published. It is not called concurrently.
	Reject func(ImportReject) error
	// Progress is told now and then how far all is done. It is not called
	// concurrently.
	Progress func(ImportSummary) error
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
	// importHeld bounds the lines behind one that is not done yet, in bytes as
	// heldBytes counts them: a key that has to wait must not let the rest of a file
	// into memory.
	importHeld = 64 << 20
)

// Import publishes one update for each line of the input. Lines of one key are
// published in their order, others side by side. It stops at what concerns all
// lines, such as a channel that is full; the summary then says how far all is
// done, and going on from there is safe, as is beginning anew. It holds a bounded
// number of lines, however long one of them takes.
func (c *Client) Import(ctx context.Context, o ImportOptions) (ImportSummary, error) {
	publisher, err := c.Publisher(ctx)
	if err != nil {
		return ImportSummary{Offset: o.From, Line: o.Line}, err
	}
	im := importer{o: o, publish: publisher.Publish, answers: c.answers, room: semaphore.NewWeighted(importHeld), sum: ImportSummary{Offset: o.From, Line: o.Line}}
	err = im.run(ctx)
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.sum, errors.Join(err, o.Progress(im.sum))
}

type importer struct {
	o       ImportOptions
	publish func(context.Context, events.Update) (events.Receipt, error)
	answers func(ctx context.Context, channel string) bool
	room    *semaphore.Weighted // of importHeld; a line has its share until all before it are done, too

	mu      sync.Mutex
	sum     ImportSummary
	pending []*importItem // in the order of the input; those done at its beginning are removed
	told    time.Time
}

type importItem struct {
	u         events.Update
	input     []byte
	line, end int64
	held      int64 // of the importer's room
	done      bool
}

// heldBytes is what a line counts for: itself, the update made of it, and what
// is noted of it.
func heldBytes(line []byte) int64 { return min(2*int64(len(line))+512, importHeld) }

func (im *importer) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	lanes := make([]chan *importItem, im.o.InFlight)
	for i := range lanes {
		lanes[i] = make(chan *importItem, 1)
		group.Go(func() error {
			for it := range lanes[i] {
				if err := im.send(ctx, it); err != nil {
					return err
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer func() {
			for _, lane := range lanes {
				close(lane)
			}
		}()
		return im.read(ctx, lanes)
	})
	return group.Wait()
}

// read hands lines to the lanes; a key always goes to the same.
func (im *importer) read(ctx context.Context, lanes []chan *importItem) error {
	r := lineReader{in: bufio.NewReaderSize(im.o.In, 64<<10), most: MaxImportLine, offset: im.o.From, number: im.o.Line}
	seed := maphash.MakeSeed()
	for {
		line, long, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the input: %w", err)
		}
		it := &importItem{input: line, line: r.number, end: r.offset, held: heldBytes(line)}
		if err := im.room.Acquire(ctx, it.held); err != nil {
			return err
		}
		im.mu.Lock()
		im.pending = append(im.pending, it)
		im.mu.Unlock()
		if len(bytes.TrimSpace(line)) == 0 {
			if err := im.finish(it, nil); err != nil {
				return err
			}
			continue
		}
		if long {
			err = fmt.Errorf("%w: it is longer than %d bytes", errLine, MaxImportLine)
		} else {
			it.u, err = decodeImportLine(im.o.Channel, line)
		}
		if err != nil {
			if err := im.reject(it, err); err != nil {
				return err
			}
			continue
		}
		select {
		case lanes[maphash.String(seed, it.u.Key)%uint64(len(lanes))] <- it:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (im *importer) send(ctx context.Context, it *importItem) error {
	silent := 0 // publishes in a row that a broker which is there has not answered
	for try := 1; ; try++ {
		receipt, err := im.publish(ctx, it.u)
		switch {
		case err == nil && receipt.Duplicate:
			return im.finish(it, func(s *ImportSummary) { s.Duplicates++ })
		case err == nil:
			return im.finish(it, func(s *ImportSummary) { s.Stored++ })
		case errors.Is(err, events.ErrStale):
			return im.finish(it, func(s *ImportSummary) { s.Stale++ })
		case errors.Is(err, events.ErrConflict), errors.Is(err, events.ErrInvalidUpdate), errors.Is(err, events.ErrTooLarge):
			return im.reject(it, err)
		case ctx.Err() != nil:
			return ctx.Err()
		case !events.IsUnavailable(err) && !errors.Is(err, events.ErrBusy), try == importTries:
			return fmt.Errorf("line %d: %w", it.line, err)
		}
		if noAnswer(err) && im.answers(ctx, it.u.Channel) {
			silent++
		} else {
			silent = 0
		}
		if silent == importSilent {
			return fmt.Errorf("line %d: %w: %w", it.line, ErrNotStored, err)
		}
		if !sleep.For(ctx, importRetry) {
			return ctx.Err()
		}
	}
}

// StreamIdentity tells a channel's stream from one that was made in its place, from
// that of another broker, and from itself before its files were restored: of what an
// import has published to another one, nothing may be there.
func (c *Client) StreamIdentity(ctx context.Context, channel string) (string, error) {
	stream, err := c.JS.Stream(ctx, c.Names.UpdateStream(channel))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", fmt.Errorf("%w: %s: its stream is gone; 'extsync channels apply' makes it again", events.ErrUnknownChannel, channel)
	}
	if err != nil {
		return "", err
	}
	incarnation, err := events.ReadIncarnation(ctx, c.JS, c.Names)
	if err != nil {
		return "", err
	}
	return stream.CachedInfo().Created.UTC().Format(time.RFC3339Nano) + "/" + incarnation.String(), nil
}

// noAnswer reports whether a request was sent and nothing came back.
func noAnswer(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
}

// answers reports whether the leader of a channel's stream answers questions.
func (c *Client) answers(ctx context.Context, channel string) bool {
	ctx, cancel := context.WithTimeout(ctx, storeProbe)
	defer cancel()
	stream, err := c.JS.Stream(ctx, c.Names.UpdateStream(channel))
	if err != nil {
		return false
	}
	cluster := stream.CachedInfo().Cluster
	return cluster == nil || cluster.Leader != ""
}

func (im *importer) reject(it *importItem, why error) error {
	im.mu.Lock()
	err := im.o.Reject(ImportReject{Line: it.line, Reason: why.Error(), Input: string(it.input)})
	im.mu.Unlock()
	if err != nil {
		return err
	}
	return im.finish(it, func(s *ImportSummary) { s.Rejected++ })
}

// finish marks a line as done, and moves the offset over all that are.
func (im *importer) finish(it *importItem, count func(*ImportSummary)) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	it.done, it.input, it.u = true, nil, events.Update{}
	if count != nil {
		count(&im.sum)
	}
	for len(im.pending) > 0 && im.pending[0].done {
		im.sum.Offset, im.sum.Line = im.pending[0].end, im.pending[0].line
		im.room.Release(im.pending[0].held)
		im.pending = im.pending[1:]
	}
	if time.Since(im.told) < importEvery {
		return nil
	}
	im.told = time.Now()
	return im.o.Progress(im.sum)
}
