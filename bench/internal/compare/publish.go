package compare

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// The ways to publish.
const (
	publishBare = "bare" // PublishAsync with the same headers and an expected sequence
	publishAll  = "all"  // PublishAll
	// publishImport imports the updates from a file.
	publishImport = "import"
	// publishRelay relays them out of an outbox in PostgreSQL.
	publishRelay = "relay"
)

// publishing is what a publishing part does.
type publishing struct {
	How     string `json:"how"`
	Keys    int    `json:"keys"`
	Updates int    `json:"updates"`
	AtOnce  int    `json:"at_once"`
	Outbox  string `json:"outbox,omitempty"` // the database that it is in
}

// publishRate measures how fast updates are published.
func publishRate(ctx context.Context, b *bed) (m Measure, err error) {
	if err := b.snapshot(); err != nil {
		return m, err
	}
	p, err := start(ctx, b.dir, Part{
		Role: rolePublish, URL: b.url, Dir: b.dir, Profile: b.profile(rolePublish),
		Publish: publishing{How: b.s.publish, Keys: b.s.keys, Updates: b.s.updates, AtOnce: b.s.inFlight, Outbox: b.database},
	}, &address{})
	if err != nil {
		return m, err
	}
	b.runners = append(b.runners, p)
	var over span
	if err := p.read(&over); err != nil {
		return m, err
	}
	stream, err := b.client.JS.Stream(ctx, wire.UpdateStream(b.client.Names, events.ToChannel(b.channelName(0))))
	if err != nil {
		return m, err
	}
	if got := stream.CachedInfo().State.LastSeq; got != uint64(b.s.updates) {
		return m, fmt.Errorf("%w: the stream has taken %d updates instead of %d", errWrong, got, b.s.updates)
	}
	took := over.Last.Sub(over.First)
	return b.measure(float64(b.s.updates)/took.Seconds(), took, b.s.updates)
}

func runPublishing(ctx context.Context, p Part, out io.Writer) error {
	nc, err := nats.Connect(p.URL)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(p.Publish.AtOnce))
	if err != nil {
		return err
	}
	run := p.Publish.run
	switch p.Publish.How {
	case publishImport:
		run, err = p.Publish.imports(ctx, p)
	case publishRelay:
		run, err = p.Publish.relays(ctx, p.Publish.Outbox)
	}
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	if err := enc.Encode(address{}); err != nil {
		return err
	}
	over := span{First: time.Now()}
	if err := run(ctx, js); err != nil {
		return err
	}
	over.Last = time.Now()
	if err := enc.Encode(over); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (p publishing) run(ctx context.Context, js jetstream.JetStream) error {
	if p.How == publishBare {
		return p.bare(ctx, js)
	}
	pub, err := publish.New(ctx, js, events.DefaultNames())
	if err != nil {
		return err
	}
	updates := func(yield func(events.Update) bool) {
		err = p.load().each("", func(u events.Update) error {
			if !yield(u) {
				return errLeft
			}
			return nil
		})
	}
	for _, failed := range pub.PublishAll(ctx, updates, p.AtOnce) {
		if failed != nil {
			return failed
		}
	}
	return err
}

// imports writes the updates into a file, and returns what imports them.
func (p publishing) imports(ctx context.Context, part Part) (func(context.Context, jetstream.JetStream) error, error) {
	file, err := os.Create(filepath.Join(part.Dir, "updates.ndjson"))
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriter(file)
	err = p.load().each("", func(u events.Update) error {
		line, err := json.Marshal(map[string]any{"key": u.Key, "version": u.Version, "payload": json.RawMessage(u.Payload)})
		if err != nil {
			return err
		}
		_, err = w.Write(append(line, '\n'))
		return err
	})
	if err := errors.Join(err, w.Flush()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	client, err := operate.Connect(ctx, workerConfig(part.URL), quiet())
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return func(ctx context.Context, _ jetstream.JetStream) error {
		defer client.Close()
		sum, err := client.Import(ctx, operate.ImportOptions{
			Route: events.ToChannel(p.load().channel), In: file, InFlight: p.AtOnce,
			Reject:   func(r operate.ImportReject) error { return fmt.Errorf("%w: line %d: %s", errWrong, r.Line, r.Reason) },
			Progress: func(operate.ImportSummary) error { return nil },
		})
		if err == nil && sum.Stored != int64(p.Updates) {
			err = fmt.Errorf("%w: %+v", errWrong, sum)
		}
		return errors.Join(err, file.Close())
	}, nil
}

// errLeft ends a load that nobody wants the rest of.
var errLeft = errors.New("no more updates are wanted")

func (p publishing) load() load { return load{channel: "bench0", keys: p.Keys, updates: p.Updates} }

// bare knows every sequence in advance: nobody else publishes.
func (p publishing) bare(ctx context.Context, js jetstream.JetStream) error {
	names := events.DefaultNames()
	last := make(map[string]uint64, p.Keys)
	window := make([]jetstream.PubAckFuture, p.AtOnce)
	n := uint64(0)
	err := p.load().each("", func(u events.Update) error {
		msg, err := wire.Encode(names, u)
		if err != nil {
			return err
		}
		oldest := &window[n%uint64(len(window))]
		if err := confirmed(ctx, *oldest); err != nil {
			return err
		}
		n++
		*oldest, err = js.PublishMsgAsync(msg, jetstream.WithExpectLastSequencePerSubject(last[u.Key]), jetstream.WithStallWait(time.Minute))
		last[u.Key] = n
		return err
	})
	for _, future := range window {
		err = errors.Join(err, confirmed(ctx, future))
	}
	return err
}

func confirmed(ctx context.Context, future jetstream.PubAckFuture) error {
	if future == nil {
		return nil
	}
	select {
	case <-future.Ok():
		return nil
	case err := <-future.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
