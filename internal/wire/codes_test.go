package wire_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
)

func code(n int) error {
	return fmt.Errorf("request: %w", &jetstream.APIError{Code: 500, ErrorCode: jetstream.ErrorCode(n), Description: "x"})
}

// The server's own list: a code that is new in an update has to be decided before the
// update can be taken.
func TestEveryErrorCodeOfTheServerIsDecided(t *testing.T) {
	if len(server.ApiErrors) < 200 {
		t.Fatalf("the server lists %d codes only", len(server.ApiErrors))
	}
	for _, e := range server.ApiErrors {
		if wire.MeaningOf(code(int(e.ErrCode))) == wire.Undecided {
			t.Errorf("%d %q (status %d) is not in codes.go: decide what it means", e.ErrCode, e.Description, e.Code)
		}
	}
	if got := wire.MeaningOf(code(19999)); got != wire.Undecided {
		t.Errorf("a code that nobody knows: %v", got)
	}
}

func TestMeaningOfErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want wire.Meaning
	}{
		{"nothing", nil, wire.Undecided},
		{"no error of the broker", errors.New("10071"), wire.Undecided},
		{"the same id is in process", code(10158), wire.Repeat},
		{"the expected sequence cannot be told", code(10163), wire.Repeat},
		{"wrong last sequence", code(10071), wire.ReadAgain},
		{"wrong last sequence of a cluster", code(10164), wire.ReadAgain},
		{"stream is full", code(10077), wire.Full},
		{"account is full", code(10002), wire.BrokerFull},
		{"broker is full", code(10023), wire.BrokerFull},
		{"too much reserved", code(10047), wire.BrokerFull},
		{"no such stream", jetstream.ErrStreamNotFound, wire.NoStream},
		{"no such consumer", jetstream.ErrConsumerNotFound, wire.NoConsumer},
		{"no such message", code(10037), wire.NoMessage},
		{"young cluster", code(10005), wire.Unavailable},
		{"no leader", code(10008), wire.Unavailable},
		{"another has the messages", code(10100), wire.Overlap},
		{"purge failed", code(10110), wire.Failed},
		{"JetStream is off", jetstream.ErrJetStreamNotEnabled, wire.Misconfigured},
		{"a mirror", code(10034), wire.Bug},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := wire.MeaningOf(tt.err); got != tt.want {
				t.Errorf("%v means %d, want %d", tt.err, got, tt.want)
			}
		})
	}
}

func TestIsUnavailable(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		want bool
	}{
		{"nothing", nil, false},
		{"no answer in time", context.DeadlineExceeded, true},
		{"nobody listens", fmt.Errorf("publish: %w", nats.ErrNoResponders), true},
		{"cluster without a leader", code(10008), true},
		{"cluster not led by who was asked", code(10009), true},
		{"the same id is in process", code(10158), true},
		{"wrong last sequence", code(10071), false},
		{"stream is full", code(10077), false},
		{"anything else", errors.New("timeout"), false}, // classified by value, never by text
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := wire.IsUnavailable(tt.err); got != tt.want {
				t.Errorf("got %v for %v", got, tt.err)
			}
		})
	}
}
