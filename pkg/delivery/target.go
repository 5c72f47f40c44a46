package delivery

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// secretsPoll is how often the files are looked at that hold secrets. They are read,
// not watched: orchestrators swap links, network file systems tell of nothing, and a
// few small files cost nothing.
const secretsPoll = 5 * time.Second

// A target is a channel's connector as this worker has it open. It is opened anew
// when its secrets may have changed; calls in flight end with the connector that they
// began with.
type target struct {
	open func(context.Context) (connectors.Sender, error)
	// resolve gives what a file holds.
	resolve func(connectors.Ref) (string, error)
	files   []connectors.Ref // that the configuration refers to

	renewing sync.Mutex // held while the connector is opened anew
	// seen is what the files held when the connector was opened last.
	seen [sha256.Size]byte

	mu    sync.Mutex
	now   *openTarget    // nil: closed
	ended sync.WaitGroup // connectors that were replaced
}

// An openTarget is one connector and the calls of it.
type openTarget struct {
	conn  connectors.Sender
	calls sync.WaitGroup
}

// newTarget opens a connector.
func newTarget(ctx context.Context, resolve func(connectors.Ref) (string, error), config []byte, open func(context.Context) (connectors.Sender, error)) (*target, error) {
	t := &target{open: open, resolve: resolve}
	for _, ref := range connectors.References(config) {
		if ref.IsFile() {
			t.files = append(t.files, ref)
		}
	}
	t.seen = t.look()
	conn, err := open(ctx)
	if err != nil {
		return nil, err
	}
	t.now = &openTarget{conn: conn}
	return t, nil
}

// look returns a digest of what the files hold.
func (t *target) look() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, ref := range t.files {
		value, err := t.resolve(ref)
		_, _ = fmt.Fprintf(h, "%d %t %s", len(value), err == nil, value) // a hash never fails
	}
	h.Sum(sum[:0])
	return sum
}

// use calls f with the connector. It returns false, without a call, once the target
// is closed.
func (t *target) use(f func(connectors.Sender)) bool {
	t.mu.Lock()
	c := t.now
	if c == nil {
		t.mu.Unlock()
		return false
	}
	c.calls.Add(1)
	t.mu.Unlock()
	defer c.calls.Done()
	f(c.conn)
	return true
}

// renew opens the connector anew. If that fails, the one that is open stays.
func (t *target) renew(ctx context.Context) error {
	t.renewing.Lock()
	defer t.renewing.Unlock()
	return t.reopen(ctx, t.look())
}

// renewIfChanged does so if a file holds something else than when it was opened.
func (t *target) renewIfChanged(ctx context.Context) (changed bool, err error) {
	t.renewing.Lock()
	defer t.renewing.Unlock()
	seen := t.look()
	if seen == t.seen {
		return false, nil
	}
	return true, t.reopen(ctx, seen)
}

// reopen does it. The caller holds renewing. What was seen before the connector reads
// it may be older than what that gets; then it is done once more, in vain.
func (t *target) reopen(ctx context.Context, seen [sha256.Size]byte) error {
	conn, err := t.open(ctx)
	if err != nil {
		return err
	}
	t.seen = seen
	t.mu.Lock()
	old := t.now
	if old != nil {
		t.now = &openTarget{conn: conn}
		t.ended.Add(1)
	}
	t.mu.Unlock()
	if old == nil { // it was closed meanwhile
		return conn.Close(ctx)
	}
	go func() {
		defer t.ended.Done()
		old.calls.Wait()
		_ = old.close(ctx) // nothing uses it any more, and the next one is there
	}()
	return nil
}

func (c *openTarget) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return c.conn.Close(ctx)
}

// errHung says that a call of the connector never returned.
var errHung = errors.New("a call of it never returned")

// close closes the connector, once no call uses it. No call begins afterwards.
func (t *target) close(ctx context.Context) error {
	t.mu.Lock()
	c := t.now
	t.now = nil
	t.mu.Unlock()
	if c == nil {
		return nil
	}
	if !waitFor(&c.calls, closeTimeout) || !waitFor(&t.ended, closeTimeout) {
		return errHung
	}
	return c.close(ctx)
}
