package broker

import (
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

// Refusals remembers what the broker refused. The broker tells it by the way:
// who made the request sees a timeout only. The zero Refusals is ready for use,
// by several goroutines.
type Refusals struct {
	mu   sync.Mutex
	last error
	at   time.Time
}

// Watch returns the option for Connect that makes r see the refusals of a
// connection. What handles its events otherwise still does.
func (r *Refusals) Watch() nats.Option {
	return func(o *nats.Options) error {
		onError, onReconnect := o.AsyncErrorCB, o.ReconnectedCB
		o.AsyncErrorCB = func(nc *nats.Conn, sub *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				r.set(refusal(err))
			}
			if onError != nil {
				onError(nc, sub, err)
			}
		}
		o.ReconnectedCB = func(nc *nats.Conn) {
			r.set(nil) // permissions are those of a connection
			if onReconnect != nil {
				onReconnect(nc)
			}
		}
		return nil
	}
}

func (r *Refusals) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.at = err, time.Now()
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

// refusal says which permission is missing. The client has no other form for it
// than the server's text: Permissions Violation for Publish to "subject".
func refusal(err error) error {
	m := regexp.MustCompile(`for (Publish|Subscription) to "([^"]+)"`).FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("%w: a permission is missing", ErrRefused)
	}
	verb := "publish to"
	if m[1] == "Subscription" {
		verb = "subscribe to"
	}
	return fmt.Errorf("%w: the permission to %s %q is missing", ErrRefused, verb, withoutKey(m[2]))
}

// withoutKey replaces the last token of a subject, which may be an entity's key.
func withoutKey(subject string) string {
	i := strings.LastIndexByte(subject, '.')
	if i < 0 || strings.HasPrefix(subject, "$JS.API.STREAM.") {
		return subject
	}
	return subject[:i] + ".*"
}
