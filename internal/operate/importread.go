package operate

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"

	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// importHeld bounds the lines behind one that is not done yet, in bytes as
	// heldBytes counts them: a key that has to wait must not let the rest of a file
	// into memory.
	importHeld = 64 << 20
	// importAhead bounds how many lines are read ahead of those on their way.
	importAhead = 1024
	// importRefs is how many owners are asked at once to remember something.
	importRefs = 64
)

// An importReader reads lines, in a goroutine of its own, and has what they say under
// "refs" remembered.
type importReader struct {
	o       ImportOptions
	names   events.Names
	setRefs func(ctx context.Context, channel, key string, refs events.Refs) error
	answers func(ctx context.Context, r events.Route) bool
	room    *semaphore.Weighted // of importHeld; a line has its share until all before it are done, too
	lines   chan *importItem    // in the order of the input
	err     error               // why the input ended; to be read when lines is closed
}

// An importItem is a line.
type importItem struct {
	u          events.Update
	refs       events.Refs
	input      []byte
	line, end  int64
	first      int64         // the line in which a record of several begins
	held       int64         // of the importer's room
	publish    bool          // else it is empty, or refused with err
	err        error         // why it cannot be published
	remembered chan struct{} // closed when its refs are; nil: there is nothing to wait for
}

// heldBytes is what a line counts for: itself, the update made of it, and what
// is noted of it.
func heldBytes(line []byte) int64 { return min(2*int64(len(line))+512, importHeld) }

// errRefs says that a line is not to be taken without being asked for.
var errRefs = fmt.Errorf("%w: it has refs, which count with --refs only", errLine)

func newImportReader(o ImportOptions) importReader {
	if o.Waits == nil {
		o.Waits = func(error) {}
	}
	return importReader{o: o, room: semaphore.NewWeighted(importHeld), lines: make(chan *importItem, importAhead)}
}

// start reads until the input or ctx ends.
func (r *importReader) start(ctx context.Context) {
	var lanes []chan *importItem
	if r.o.Refs {
		lanes = make([]chan *importItem, importRefs)
	}
	for i := range lanes {
		lanes[i] = make(chan *importItem, 1)
		go func() {
			for it := range lanes[i] {
				r.remember(ctx, it)
			}
		}()
	}
	go func() {
		defer close(r.lines)
		r.err = r.read(ctx, lanes)
		for _, lane := range lanes {
			close(lane)
		}
	}()
}

// read hands lines on. Those with refs go to the lanes as well; a key always to the same.
func (r *importReader) read(ctx context.Context, lanes []chan *importItem) error {
	in := lineReader{in: bufio.NewReaderSize(r.o.In, 64<<10), most: MaxImportLine, csv: r.o.CSV, offset: r.o.From, number: r.o.Line}
	seed := maphash.MakeSeed()
	for {
		line, long, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the input: %w", err)
		}
		it := &importItem{input: line, first: in.first, line: in.number, end: in.offset, held: heldBytes(line)}
		if err := r.room.Acquire(ctx, it.held); err != nil {
			return err
		}
		r.decode(it, long)
		if it.publish && len(it.refs) > 0 {
			it.remembered = make(chan struct{})
		}
		select {
		case r.lines <- it:
		case <-ctx.Done():
			return ctx.Err()
		}
		if it.remembered == nil {
			continue
		}
		select {
		case lanes[maphash.String(seed, it.u.Key)%uint64(len(lanes))] <- it:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// decode says what a line is.
func (r *importReader) decode(it *importItem, long bool) {
	switch {
	case len(bytes.TrimSpace(it.input)) == 0:
		return
	case long:
		it.err = fmt.Errorf("%w: it is longer than %d bytes", errLine, MaxImportLine)
	default:
		line := it.input
		if r.o.CSV != nil {
			line, it.err = r.o.CSV.line(line)
		}
		if it.err == nil {
			it.u, it.refs, it.err = decodeImportLine(r.names, r.o.Route, line)
		}
		if it.err == nil && len(it.refs) > 0 && !r.o.Refs {
			it.err = errRefs
		}
	}
	it.publish = it.err == nil
}

// remember has the owner of a line's key remember what the line says of it.
func (r *importReader) remember(ctx context.Context, it *importItem) {
	set := func() error { return r.setRefs(ctx, it.u.Channel, it.u.Key, it.refs) }
	it.err = r.retry(ctx, it, set(), set)
	it.publish = it.err == nil
	close(it.remembered)
}

// refuses reports whether an error concerns one line only.
func refuses(err error) bool {
	return errors.Is(err, errLine) || errors.Is(err, errFails) || errors.Is(err, events.ErrConflict) || errors.Is(err, events.ErrInvalidUpdate) || errors.Is(err, events.ErrTooLarge)
}

// retry does something again until it works or that is of no use: err is why it has
// not worked the first time, nil if it has.
func (r *importReader) retry(ctx context.Context, it *importItem, err error, again func() error) error {
	silent := 0 // requests in a row that a broker which is there has not answered
	for try := 1; err != nil && !refuses(err) && !errors.Is(err, events.ErrStale); try++ {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !wire.IsUnavailable(err) && !errors.Is(err, events.ErrBusy) && !errors.Is(err, channels.ErrRefs), try == importTries:
			return fmt.Errorf("line %d: %w", it.line, err)
		case noAnswer(err) && r.answers(ctx, r.o.Route):
			silent++
		default:
			silent = 0
		}
		if silent == importSilent {
			return fmt.Errorf("line %d: %w: %w", it.line, ErrNotStored, err)
		}
		if try > 1 { // all that was on its way has failed at once, and the broker may be there again
			r.o.Waits(err)
			if !sleep.For(ctx, importRetry) {
				return ctx.Err()
			}
		}
		err = again()
	}
	return err
}

// noAnswer reports whether a request was sent and nothing came back.
func noAnswer(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
}

// answers reports whether the leader of a route's stream answers questions.
func (c *Client) answers(ctx context.Context, r events.Route) bool {
	ctx, cancel := context.WithTimeout(ctx, storeProbe)
	defer cancel()
	stream, err := c.JS.Stream(ctx, wire.UpdateStream(c.Names, r))
	if err != nil {
		return false
	}
	cluster := stream.CachedInfo().Cluster
	return cluster == nil || cluster.Leader != ""
}

// StreamIdentity tells a route's stream from one that was made in its place, from
// that of another broker, and from itself before its files were restored: of what an
// import has published to another one, nothing may be there.
func (c *Client) StreamIdentity(ctx context.Context, r events.Route) (string, error) {
	stream, err := c.JS.Stream(ctx, wire.UpdateStream(c.Names, r))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", fmt.Errorf("%w: %s: its stream is gone; 'extsync channels apply' makes it again", events.ErrUnknownChannel, r.Name())
	}
	if err != nil {
		return "", err
	}
	incarnation, err := wire.ReadIncarnation(ctx, c.JS, c.Names)
	if err != nil {
		return "", err
	}
	return stream.CachedInfo().Created.UTC().Format(time.RFC3339Nano) + "/" + incarnation.String(), nil
}
