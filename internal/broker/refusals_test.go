package broker

import (
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
