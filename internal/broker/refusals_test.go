package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
)

// What the broker refuses names the missing permission, shows no key, and is
// forgotten with the connection it was true of.
func TestRefusals(t *testing.T) {
	var r Refusals
	if err := r.Err(); err != nil {
		t.Fatalf("nothing was refused: %v", err)
	}
	passedOn := 0
	o := nats.Options{AsyncErrorCB: func(*nats.Conn, *nats.Subscription, error) { passedOn++ }}
	if err := r.Watch()(&o); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		`Permissions Violation for Publish to "sync.updates.portal.p-2023-vax"`:   `publish to "sync.updates.portal.*"`,
		`Permissions Violation for Subscription to "sync.ctl.portal.3"`:           `subscribe to "sync.ctl.portal.*"`,
		`Permissions Violation for Publish to "$JS.API.STREAM.INFO.SYNC_UPD_x"`:   `publish to "$JS.API.STREAM.INFO.SYNC_UPD_x"`,
		`Permissions Violation for Publish with Reply of "_INBOX_publisher.abc1"`: "a permission is missing",
	} {
		o.AsyncErrorCB(nil, nil, fmt.Errorf("%w: %s", nats.ErrPermissionViolation, text))
		err := r.Err()
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "p-2023-vax") {
			t.Errorf("%s: %v", text, err)
		}
	}
	o.AsyncErrorCB(nil, nil, nats.ErrSlowConsumer)
	if passedOn != 5 {
		t.Errorf("%d of 5 errors were passed on", passedOn)
	}
	o.ReconnectedCB(nil)
	if err := r.Err(); err != nil {
		t.Errorf("after a reconnect: %v", err)
	}
}

// What waits for an answer that the broker refuses to give ends at once, with the
// refusal; what the refusal does not concern goes on.
func TestRefusedAttemptEndsAtOnce(t *testing.T) {
	refuse := func(o *nats.Options, subject string) {
		o.AsyncErrorCB(nil, nil, fmt.Errorf("%w: Permissions Violation for Publish to %q", nats.ErrPermissionViolation, subject))
	}
	var r Refusals
	var o nats.Options
	if err := r.Watch()(&o); err != nil {
		t.Fatal(err)
	}
	err := r.Do(t.Context(), Mentioning("portal"), func(ctx context.Context) error {
		refuse(&o, "sync.updates.other.k")
		refuse(&o, "sync.updates.other.portal") // a key, not the channel
		refuse(&o, "sync.updates.portals.k")
		if ctx.Err() != nil {
			t.Errorf("it ended for what does not concern it: %v", context.Cause(ctx))
		}
		refuse(&o, "sync.updates.portal.k")
		<-ctx.Done()
		return fmt.Errorf("no answer: %w", ctx.Err())
	})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `"sync.updates.portal.*" is missing`) {
		t.Errorf("error %v", err)
	}
	// Without an error there is nothing to explain.
	err = r.Do(t.Context(), Anything, func(context.Context) error {
		refuse(&o, "sync.updates.portal.k")
		return nil
	})
	if err != nil {
		t.Errorf("what was done nevertheless: %v", err)
	}
}

// A command that does nothing else ends with the first refusal.
func TestEndOnRefusal(t *testing.T) {
	var r Refusals
	var o nats.Options
	if err := r.Watch()(&o); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancelCause(t.Context())
	r.EndOnRefusal(end)
	o.AsyncErrorCB(nil, nil, fmt.Errorf(`%w: Permissions Violation for Publish to "$JS.API.STREAM.INFO.X"`, nats.ErrPermissionViolation))
	if cause := context.Cause(ctx); !errors.Is(cause, ErrRefused) {
		t.Errorf("cause %v", cause)
	}
}
