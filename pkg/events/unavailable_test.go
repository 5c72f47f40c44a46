package events_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

func TestIsUnavailable(t *testing.T) {
	api := func(code jetstream.ErrorCode) error { return &jetstream.APIError{Code: 503, ErrorCode: code} }
	tests := []struct {
		name string
		err  error
		want bool
	}{
		{"nothing", nil, false},
		{"no answer in time", context.DeadlineExceeded, true},
		{"nobody listens", fmt.Errorf("publish: %w", nats.ErrNoResponders), true},
		{"cluster without a leader", fmt.Errorf("bind: %w", api(10008)), true},
		{"cluster not led by who was asked", api(10009), true},
		{"wrong last sequence", api(10071), false},
		{"stream is full", api(10077), false},
		{"anything else", errors.New("timeout"), false}, // classified by value, never by text
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := events.IsUnavailable(tt.err); got != tt.want {
				t.Errorf("got %v for %v", got, tt.err)
			}
		})
	}
}
