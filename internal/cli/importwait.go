package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/events"
)

// dryRejects is how many of the lines that are wrong a dry run shows.
const dryRejects = 10

func (f *importFlags) waitFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&f.dryRun, "dry-run", false, "check every line, and publish nothing")
	flags.BoolVar(&f.wait, "wait", false, "wait until each key has an outcome")
	durationVar(flags, &f.timeout, "timeout", 10*time.Minute, "with --wait: how long to wait after all is published")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "wait")
}

func (f *importFlags) checkWait(flags *pflag.FlagSet) error {
	switch {
	case f.topic != "" && (f.wait || f.refs):
		return fmt.Errorf("%w: --wait and --refs are for one channel: 'extsync status' says what the channels of a topic have not delivered", errUsage)
	case f.timeout <= 0:
		return fmt.Errorf("%w: --timeout: %s is not more than 0", errUsage, f.timeout)
	case flags.Changed("timeout") && !f.wait:
		return fmt.Errorf("%w: --timeout says how long to wait: give --wait, too", errUsage)
	}
	return nil
}

// triedImport is what a dry run tells.
type triedImport struct {
	Channel string `json:"channel,omitempty"`
	Topic   string `json:"topic,omitempty"`
	DryRun  bool   `json:"dry_run"`
	From    int64  `json:"from"`
	operate.DryImport
	// First are the first lines that are wrong; Rejects is the file that has all of them.
	First   []operate.ImportReject `json:"first,omitempty"`
	Rejects string                 `json:"rejects,omitempty"`
}

// tryImport says what an import would do.
func tryImport(ctx context.Context, sh *Shell, client *operate.Client, input *importInput, rejects *rejectFile, o operate.ImportOptions) error {
	doc := triedImport{Channel: o.Route.Channel(), Topic: o.Route.Topic(), DryRun: true, From: input.from, Rejects: rejects.name}
	o.Reject = func(r operate.ImportReject) error {
		if len(doc.First) < dryRejects {
			doc.First = append(doc.First, r)
		}
		if rejects.name == "" {
			return nil
		}
		return rejects.write(r)
	}
	bar := sh.progress("bytes", input.size)
	o.Progress = func(s operate.ImportSummary) error {
		bar.set(s.Offset)
		return nil
	}
	var err error
	doc.DryImport, err = client.TryImport(ctx, o)
	bar.end()
	if err != nil {
		return err
	}
	wrong := doc.Rejected + doc.Failing
	if wrong == 0 {
		doc.Rejects = ""
	}
	if err := doc.write(sh); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("lines would be %w, or fail: %d", errRejected, wrong)
	}
	return nil
}

func (d *triedImport) write(sh *Shell) error {
	if sh.JSON {
		return sh.WriteJSON(d)
	}
	text := fmt.Sprintf("%s: nothing was published; of the lines up to %d, %d would be stored, %d are there already, %d are older than what is there, %d would be rejected\n",
		d.Channel+d.Topic, d.Line, d.Stored, d.Duplicates, d.Stale, d.Rejected)
	if d.Filtered+d.Failing > 0 {
		text += fmt.Sprintf("of what would be stored, the filter would keep %d back, and %d would fail\n", d.Filtered, d.Failing)
	}
	for _, r := range d.First {
		text += fmt.Sprintf("line %d: %s\n", r.Line, clean(oneLine(r.Reason)))
	}
	if more := d.Rejected + d.Failing - int64(len(d.First)); more > 0 {
		text += fmt.Sprintf("and %d more lines; --rejects FILE has all of them written\n", more)
	}
	if d.Rejects != "" {
		text += "rejects: " + d.Rejects + "\n"
	}
	_, err := io.WriteString(sh.Out, text)
	return err
}

// awaitImport waits until every key that was published has an outcome.
func awaitImport(ctx context.Context, sh *Shell, o operate.ImportOptions, timeout time.Duration, doc *imported) error {
	sh.goOn = "all of it is published, and nothing is lost by that: the same command skips what is there and waits for the same keys again"
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := fmt.Fprintf(sh.Err, "all of it is published; waiting for the outcome of each key, up to %s\n", timeout); err != nil {
		return err
	}
	var bar *progress
	err := o.Arrivals.Wait(waiting, func(done, all int64) {
		if bar == nil {
			bar = sh.progress("keys", all)
		}
		bar.set(done)
	}, o.Waits)
	bar.end()
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, events.ErrUnavailable) && ctx.Err() == nil {
		err = nil // the verdict says so
	}
	arrived := o.Arrivals.Arrived(ctx)
	doc.Arrived = &arrived
	return err
}

func arrivedText(a *operate.Arrived) string {
	text := fmt.Sprintf("%d keys: %d delivered, %d superseded, %d filtered, %d failed, %d still open\n",
		a.Keys, a.Delivered, a.Superseded, a.Filtered, a.Failed, a.Open)
	for _, f := range a.Failures {
		text += fmt.Sprintf("%s@%s: %s", clean(f.Key), f.Version, clean(string(f.Outcome)+reason(f.Class, f.Code, f.Message))) + "\n"
	}
	if more := a.Failed - int64(len(a.Failures)); more > 0 {
		text += fmt.Sprintf("and %d more that failed; 'extsync dead list' shows all\n", more)
	}
	if a.Why != nil {
		text += fmt.Sprintf("%s waits: %s\n", clean(a.Waiting), clean(whyText(a.Why)))
	}
	return text
}

// verdict says how an import ended; before is how many lines were rejected by an earlier one.
func (d *imported) verdict(before int64) error {
	rejected := d.Rejected + before
	switch a := d.Arrived; {
	case a != nil && a.Open > 0:
		return fmt.Errorf("%w: channel %s, %d of %d keys%s", errWaited, d.Channel, a.Open, a.Keys, reason(whyText(a.Why)))
	case a != nil && a.Failed > 0:
		return fmt.Errorf("%w: channel %s, %d of %d keys", errUndelivered, d.Channel, a.Failed, a.Keys)
	case rejected > 0:
		return fmt.Errorf("lines were %w: %d; %s has each with its number and the reason", errRejected, rejected, d.Rejects)
	}
	return nil
}
