package outlog

import (
	"context"
	"errors"
	"reflect"
	"sync"

	"github.com/hms-utl/extsync/pkg/channels"
)

// ErrGenerationClosed says that the channel's partitions were changed meanwhile.
var ErrGenerationClosed = errors.New("the partition belongs to a generation that has ended")

// ProgressOptions say whose progress it is, and who keeps it.
type ProgressOptions struct {
	Store      *channels.ProgressStore
	Channel    string
	Generation int
	Partition  int
	Worker     string
	Epoch      uint64 // of the lease
}

// A Progress is a partition's progress for its owner. It is safe for concurrent use.
type Progress struct {
	o    ProgressOptions
	turn chan struct{} // holds something while nobody changes it

	mu       sync.Mutex
	now      channels.Progress
	revision uint64
}

// NewProgress returns a progress that was not read yet.
func NewProgress(o ProgressOptions) *Progress {
	p := &Progress{o: o, turn: make(chan struct{}, 1)}
	p.turn <- struct{}{}
	return p
}

// Read reads what the owner before has left. It fails with ErrGenerationClosed.
func (p *Progress) Read(ctx context.Context) (channels.Progress, error) {
	got, revision, err := p.o.Store.Read(ctx, p.o.Channel, p.o.Generation, p.o.Partition)
	if err != nil {
		return got, err
	}
	if got.Closed {
		return got, ErrGenerationClosed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now, p.revision = got, revision
	return got, nil
}

// Now returns the progress as it was read or stored last.
func (p *Progress) Now() channels.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// Change changes and stores the progress by compare-and-set, in the owner's name.
// channels.ErrProgressChanged means that another worker has the partition.
func (p *Progress) Change(ctx context.Context, change func(*channels.Progress)) error {
	select {
	case <-p.turn:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { p.turn <- struct{}{} }()
	p.mu.Lock()
	was, revision := p.now, p.revision
	p.mu.Unlock()
	next := was
	change(&next)
	next.Worker, next.Epoch = p.o.Worker, p.o.Epoch
	if reflect.DeepEqual(next, was) && revision != 0 {
		return nil
	}
	revision, err := p.o.Store.Write(ctx, p.o.Channel, p.o.Generation, p.o.Partition, next, revision) // not under mu: whoever asks for it need not wait
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now, p.revision = next, revision
	return nil
}
