package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/extsync"
	"github.com/hms-utl/extsync/pkg/schema"
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
		"no connection":         {extsync.ErrConnect, ExitBroker},
		"no credentials file":   {wrap(extsync.ErrConnect, fs.ErrNotExist), ExitUsage},
		"no connection in time": {wrap(extsync.ErrConnect, context.DeadlineExceeded), ExitBroker},
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
		"unknown key":           {operate.ErrUnknownKey, ExitUnknown},
		"changed meanwhile":     {channels.ErrRevision, ExitRefused},
		"canceled":              {context.Canceled, ExitInterrupted},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := classify(fmt.Errorf("some context: %w", tt.err))
			if v.exit != tt.code {
				t.Errorf("exit code %d, want %d", v.exit, tt.code)
			}
			if v.hint == "" && v.exit != ExitInterrupted || v.code == "" {
				t.Errorf("the code %q, the hint %q", v.code, v.hint)
			}
			if !strings.Contains(ExitCodes, fmt.Sprintf("\n  %d ", v.exit)) {
				t.Errorf("exit code %d is not documented", v.exit)
			}
		})
	}
}

// run runs a program with one command that fails with err.
func run(err error, args ...string) (code int, stderr string) {
	var out bytes.Buffer
	sh := &Shell{Out: &bytes.Buffer{}, Err: &out}
	root := Group("program", "", &cobra.Command{Use: "fail", RunE: func(*cobra.Command, []string) error { return err }})
	sh.AddJSON(root)
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

// With --json the last line of standard error is the error, wherever the flag stands.
func TestErrorsAreJSONWithJSON(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		args []string
		want failure
	}{
		"of a command":        {events.ErrBusy, []string{"fail", "--json"}, failure{Exit: ExitUnexpected, Code: "changed_meanwhile", Message: "key is being changed by others", Hint: "somebody else was faster: look at what is there now, and run it again"}},
		"of the command line": {nil, []string{"fail", "--nope", "--json"}, failure{Exit: ExitUsage, Code: "usage", Message: "program fail: there is no flag --nope", Hint: "usage: program fail [flags]; see 'program fail --help'"}},
		"of a configuration": {
			&schema.Error{Problems: []schema.Problem{{Path: "a", Message: "one"}, {Path: "b", Message: "two"}}},
			[]string{"--json", "fail"},
			failure{Exit: ExitUsage, Code: "invalid", Message: "invalid configuration", Problems: []string{"a: one", "b: two"}, Hint: "correct what is named; --help lists every flag and variable"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, got := run(tt.err, tt.args...)
			var doc struct{ Error failure }
			if err := json.Unmarshal([]byte(got), &doc); err != nil || strings.Count(got, "\n") != 1 {
				t.Fatalf("%v: %q", err, got)
			}
			if code != tt.want.Exit || !reflect.DeepEqual(doc.Error, tt.want) {
				t.Errorf("exit code %d, %+v", code, doc.Error)
			}
		})
	}
}

func TestUsageArguments(t *testing.T) {
	for use, want := range map[string]struct {
		required string
		most     int
	}{
		"push CHANNEL KEY VERSION":            {"CHANNEL KEY VERSION", 3},
		"get [CHANNEL] KEY":                   {"KEY", 2},
		"test CHANNEL [KEY [VERSION]]":        {"CHANNEL", 3},
		"show [NAME...]":                      {"", -1},
		"set CHANNEL KEY NAME=VALUE...":       {"CHANNEL KEY NAME=VALUE", -1},
		"wait CHANNEL KEY@VERSION":            {"CHANNEL KEY@VERSION", 2},
		"apply -f FILE":                       {"", 0},
		"list":                                {"", 0},
		"broker-config --out DIR (--channels": {"", 0},
	} {
		required, most := usageArguments(use)
		if strings.Join(required, " ") != want.required || most != want.most {
			t.Errorf("%s: %q, %d", use, required, most)
		}
	}
}
