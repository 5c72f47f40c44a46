package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hms-utl/extsync/internal/tryout"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/events"
)

// maxSample bounds a sample answer, in bytes; a connector reads less of an answer.
const maxSample = 4 << 20

// inputs counts the flags that read standard input.
func inputs(flags ...string) (n int) {
	for _, f := range flags {
		if f == "-" {
			n++
		}
	}
	return n
}

// explain shows what a sample answer would mean.
func (f testFlags) explain(ctx context.Context, sh *Shell, cfg channels.Config, u events.Update) error {
	sample, err := readSample(sh.In, f.answer)
	if err != nil {
		return err
	}
	report, err := tryout.Explain(ctx, kinds.All(), cfg, connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}, sample)
	if err != nil {
		return fmt.Errorf("%w: --answer: %w", errUsage, err)
	}
	if sh.JSON {
		return sh.WriteJSON(report)
	}
	var b strings.Builder
	for _, r := range report.Rules {
		says := "does not match"
		switch {
		case r.Decides:
			says = "decides"
		case r.Matches:
			says = "matches, too late"
		case r.Error != "":
			says = "cannot be evaluated: " + r.Error
		}
		fmt.Fprintf(&b, "%s: %s: %s (%s)\n", r.Name, says, clean(r.When), r.Class)
	}
	if report.Decides == "" {
		b.WriteString("no rule decides: the table of statuses does\n")
	}
	res := report.Result
	fmt.Fprintf(&b, "result:   %s%s\n", res.Class, reason(res.Code, res.Error))
	if !res.Held.IsZero() {
		fmt.Fprintf(&b, "held:     %s\n", res.Held)
	}
	if res.RetryAfter > 0 {
		fmt.Fprintf(&b, "wait:     %s\n", res.RetryAfter.D())
	}
	_, err = io.WriteString(sh.Out, b.String())
	return err
}

func readSample(in io.Reader, name string) ([]byte, error) {
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--answer: %w", err)
		}
		defer func() { _ = file.Close() }() // only read from
		in = file
	}
	sample, err := io.ReadAll(io.LimitReader(in, maxSample+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("--answer: %w", err)
	case len(sample) > maxSample:
		return nil, fmt.Errorf("%w: --answer: more than %d bytes", errUsage, maxSample)
	default:
		return sample, nil
	}
}
