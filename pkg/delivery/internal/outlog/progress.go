package outlog

import (
	"context"
	"errors"
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
	o ProgressOptions

	mu       sync.Mutex
	now      channels.Progress
	revision uint64
}

// NewProgress returns a progress that was not read yet.
func NewProgress(o ProgressOptions) *Progress { return &Progress{o: o} }

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
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.now
	change(&next)
	next.Worker, next.Epoch = p.o.Worker, p.o.Epoch
	if next == p.now && p.revision != 0 {
		return nil
	}
	revision, err := p.o.Store.Write(ctx, p.o.Channel, p.o.Generation, p.o.Partition, next, p.revision)
	if err != nil {
		return err
	}
	p.now, p.revision = next, revision
	return nil
}
