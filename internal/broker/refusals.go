package broker

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// ErrRefused says that the broker does not let this connection use a subject. The
// message names the permission that is missing.
var ErrRefused = errors.New("the broker refuses what we do")

// refusalAge is for how long a refusal counts: whoever needs the permission has
// tried again by then.
const refusalAge = time.Minute

// Refusals remembers what the broker refused, and ends what waits for it. The
// broker tells it by the way: to who made the request it does not answer. The
// zero Refusals is ready for use, by several goroutines.
type Refusals struct {
	mu      sync.Mutex
	last    error
	at      time.Time
	waiting map[*attempt]struct{}
}

// An attempt is something that is done while somebody waits for its end.
type attempt struct {
	concerns func(subject string) bool
	end      context.CancelCauseFunc
}

// Watch returns the option for Connect that makes r see the refusals of a
// connection. What handles its events otherwise still does.
func (r *Refusals) Watch() nats.Option {
	return func(o *nats.Options) error {
		onError, onReconnect := o.AsyncErrorCB, o.ReconnectedCB
		o.AsyncErrorCB = func(nc *nats.Conn, sub *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				r.refused(refusal(err))
			}
			if onError != nil {
				onError(nc, sub, err)
			}
		}
		o.ReconnectedCB = func(nc *nats.Conn) {
			r.forget() // permissions are those of a connection
			if onReconnect != nil {
				onReconnect(nc)
			}
		}
		return nil
	}
}

// refused ends what concerns a subject, and remembers the refusal.
func (r *Refusals) refused(subject string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for a := range r.waiting {
		if a.concerns(subject) {
			a.end(err)
		}
	}
	r.last, r.at = err, time.Now()
}

func (r *Refusals) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = nil
}

// Err returns what the broker refused within the last minute, wrapping
// ErrRefused, and nil if there was nothing. It shows no key.
func (r *Refusals) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) > refusalAge {
		return nil
	}
	return r.last
}

// Do does something that needs permissions. As soon as the broker refuses a
// subject that concerns it, the context of do ends, and an error of do becomes
// the refusal, which wraps ErrRefused. A subject has no key: its last token is *.
func (r *Refusals) Do(ctx context.Context, concerns func(subject string) bool, do func(context.Context) error) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	a := attempt{concerns: concerns, end: end}
	r.mu.Lock()
	r.wait(&a)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiting, &a)
	}()
	err := do(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrRefused) {
		return cause
	}
	return err
}

// EndOnRefusal ends, with the refusal as the cause, whatever end ends, from now on.
func (r *Refusals) EndOnRefusal(end context.CancelCauseFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wait(&attempt{concerns: Anything, end: end})
}

// wait adds an attempt. The caller holds the lock.
func (r *Refusals) wait(a *attempt) {
	if r.waiting == nil {
		r.waiting = map[*attempt]struct{}{}
	}
	r.waiting[a] = struct{}{}
}

// Anything concerns what a process does when it does nothing else.
func Anything(string) bool { return true }

// Mentioning concerns what has one of some tokens in its subject.
func Mentioning(tokens ...string) func(subject string) bool {
	return func(subject string) bool {
		for _, t := range tokens {
			if strings.Contains("."+subject+".", "."+t+".") {
				return true
			}
		}
		return false
	}
}

// refusal says which permission is missing. The client has no other form for it
// than the server's text: Permissions Violation for Publish to "subject".
func refusal(err error) (subject string, _ error) {
	m := regexp.MustCompile(`for (Publish|Subscription) to "([^"]+)"`).FindStringSubmatch(err.Error())
	if m == nil {
		return "", fmt.Errorf("%w: a permission is missing", ErrRefused)
	}
	verb := "publish to"
	if m[1] == "Subscription" {
		verb = "subscribe to"
	}
	subject = withoutKey(m[2])
	return subject, fmt.Errorf("%w: the permission to %s %q is missing", ErrRefused, verb, subject)
}

// withoutKey replaces the last token of a subject, which may be an entity's key.
func withoutKey(subject string) string {
	i := strings.LastIndexByte(subject, '.')
	if i < 0 || strings.HasPrefix(subject, "$JS.API.STREAM.") {
		return subject
	}
	return subject[:i] + ".*"
}
