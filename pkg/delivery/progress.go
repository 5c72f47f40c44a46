package delivery

import (
	"context"
	"errors"

	"github.com/hms-utl/extsync/pkg/channels"
)

// errGenerationClosed: the channel's partitions were changed meanwhile.
var errGenerationClosed = errors.New("the partition belongs to a generation that has ended")

func (t *tenure) readProgress(ctx context.Context) error {
	e := t.p.r.entry
	p, revision, err := t.b.progress.Read(ctx, e.Config.Name, e.Generation, t.p.index)
	if err != nil {
		return err
	}
	if p.Closed {
		return errGenerationClosed
	}
	t.prog, t.progRevision = p, revision
	if p.Restored != 0 { // another worker has found it
		t.b.alarm(p.RestoredTime())
	}
	return nil
}

// lastConsumer returns the name of the consumer that was made last, by whomever.
func (t *tenure) lastConsumer() string {
	t.progMu.Lock()
	defer t.progMu.Unlock()
	return t.prog.Consumer
}

// writeProgress changes and stores the partition's progress by compare-and-set.
// channels.ErrProgressChanged means that another worker has the partition.
func (t *tenure) writeProgress(ctx context.Context, change func(*channels.Progress)) error {
	t.progMu.Lock()
	defer t.progMu.Unlock()
	next := t.prog
	change(&next)
	next.Worker, next.Epoch = t.p.r.worker, t.p.lease.Epoch()
	next.Restored = t.b.restored.Load()
	if next == t.prog && t.progRevision != 0 {
		return nil
	}
	e := t.p.r.entry
	revision, err := t.b.progress.Write(ctx, e.Config.Name, e.Generation, t.p.index, next, t.progRevision)
	if err != nil {
		return err
	}
	t.prog, t.progRevision = next, revision
	return nil
}
