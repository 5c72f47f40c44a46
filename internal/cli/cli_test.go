package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestExitCodes(t *testing.T) {
	wrap := func(outer, inner error) error { return fmt.Errorf("%w: %w", outer, inner) }
	tests := map[string]struct {
		err  error
		code int
	}{
		"anything":              {errors.New("x"), ExitUnexpected},
		"bad configuration":     {connectors.ErrConfig, ExitUsage},
		"unknown kind":          {connectors.ErrUnknownKind, ExitUsage},
		"worker options":        {delivery.ErrOptions, ExitUsage},
		"invalid update":        {events.ErrInvalidUpdate, ExitUsage},
		"kinds of versions":     {wrap(events.ErrInvalidUpdate, versioning.ErrKindMismatch), ExitUsage},
		"too large":             {events.ErrTooLarge, ExitUsage},
		"fixed field":           {channels.ErrImmutable, ExitUsage},
		"file is missing":       {fs.ErrNotExist, ExitUsage},
		"no connection":         {broker.ErrConnect, ExitBroker},
		"no credentials file":   {wrap(broker.ErrConnect, fs.ErrNotExist), ExitUsage},
		"no connection in time": {wrap(broker.ErrConnect, context.DeadlineExceeded), ExitBroker},
		"not provisioned":       {events.ErrNotProvisioned, ExitBroker},
		"no JetStream":          {jetstream.ErrJetStreamNotEnabled, ExitBroker},
		"no answer":             {events.ErrUnavailable, ExitBroker},
		"no responders":         {nats.ErrNoResponders, ExitBroker},
		"full":                  {events.ErrFull, ExitBroker},
		"full, as the API says": {&jetstream.APIError{ErrorCode: 10077}, ExitBroker},
		"embedded broker":       {app.ErrEmbedded, ExitBroker},
		"stale":                 {&events.HeadError{Reason: events.ErrStale}, ExitRefused},
		"conflict":              {&events.HeadError{Reason: events.ErrConflict}, ExitRefused},
		"no ack":                {wrap(events.ErrNoAck, context.DeadlineExceeded), ExitNoAck},
		"undelivered":           {errUndelivered, ExitUndelivered},
		"unknown channel":       {events.ErrUnknownChannel, ExitUnknown},
		"channel not found":     {channels.ErrNotFound, ExitUnknown},
		"bad channel name":      {wrap(channels.ErrNotFound, events.ErrName), ExitUnknown},
		"unknown key":           {app.ErrUnknownKey, ExitUnknown},
		"changed meanwhile":     {channels.ErrRevision, ExitUnexpected},
		"canceled":              {context.Canceled, ExitInterrupted},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, hint := classify(fmt.Errorf("some context: %w", tt.err))
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if hint == "" && code != ExitInterrupted {
				t.Error("there is no hint")
			}
			if !strings.Contains(ExitCodes, fmt.Sprintf("\n  %d ", code)) {
				t.Errorf("exit code %d is not documented", code)
			}
		})
	}
}

// run runs a program with one command that fails with err.
func run(err error, args ...string) (code int, stderr string) {
	var out bytes.Buffer
	sh := &Shell{Out: &bytes.Buffer{}, Err: &out}
	root := Group("program", "", &cobra.Command{Use: "fail", RunE: func(*cobra.Command, []string) error { return err }})
	code = sh.Run(context.Background(), root, args)
	return code, out.String()
}

func TestErrorsAreOneLineAndHarmless(t *testing.T) {
	code, got := run(errors.Join(fmt.Errorf("%w: a\x1b[31m", events.ErrStale), errors.New("b\r\nc")), "fail")
	if code != ExitRefused {
		t.Errorf("exit code %d", code)
	}
	if lines := strings.Split(got, "\n"); len(lines) != 3 || lines[0] != "error: stale: a\ufffd[31m; b; c" {
		t.Errorf("report:\n%q", got)
	}
}

func TestUsageErrors(t *testing.T) {
	for name, args := range map[string][]string{"command": {"fial"}, "flag": {"fail", "--nope"}} {
		t.Run(name, func(t *testing.T) {
			code, got := run(nil, args...)
			if code != ExitUsage || !strings.Contains(got, "--help") {
				t.Errorf("exit code %d, %q", code, got)
			}
		})
	}
}

func TestNoColorWithoutTerminal(t *testing.T) {
	sh := &Shell{Out: &bytes.Buffer{}, Environ: []string{"TERM=xterm"}}
	if got := sh.Strong("x"); got != "x" {
		t.Errorf("Strong = %q", got)
	}
}

func TestTableShowsEmptyCells(t *testing.T) {
	var out bytes.Buffer
	if err := writeTable(&out, []string{"A", "B"}, [][]string{{"", "x\ty"}}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); got != "A  B\n-  x\ufffdy\n" {
		t.Errorf("table = %q", got)
	}
}
