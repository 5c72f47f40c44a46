package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/events"
)

const importHelp = `Publish the entities of a file, one JSON object a line:

  {"key": "p-2023-vax", "version": 7, "payload": {"content": "Booster"}}
  {"key": "p-2024-flu", "version": "2024-05-01T12:00:00Z", "op": "delete"}

  {"key": "p-2022-tbe", "version": 3, "payload": {}, "refs": {"id": "4711"}}

base, content_type, id, type, source, time and ack_service may be given too, and
payload_base64 for what is not JSON. What the channel has already is skipped, and so is what is older than
what it has. Lines that cannot be published go to a file with their line number and the
reason, and the exit code is 9.

How far all is done is kept in a file beside the input: an import that was
interrupted goes on there, and one that is finished ends at once, and says so. That
counts for the stream that has the updates: at another broker, after the channel's
stream was made again, and after 'extsync recover', an import begins anew; it does, too,
when something was changed in what is done. So lines that were rejected may be corrected
in place, and the import run again: what the channel has already is skipped. Standard
input (-) has no such file.

A CSV file (--csv, or a name that ends in .csv) has a header. --csv-key, --csv-version and
--csv-op name three of its columns; all others are the fields of the payload, texts unless
--csv-json names them.

With --refs, what a line has under "refs" is remembered of its key first, for objects
that the target had before: its next call gets it, as if the target had answered it. That
needs a running worker.

With --topic, in place of CHANNEL, the entities are published to a topic.

A broker that is full ends the import, with exit code 3; it can go on later.

With --dry-run nothing is published, and nothing is kept beside the input. It says how many
lines would be stored, which the channel has already, or has newer, and which could not be
published. Filter, mapping and render of the channel are applied to what would be stored. It
shows the first of the lines that are wrong; --rejects has all of them written.

With --wait the command then waits until each key has an outcome, for the version of the
input or a newer one. It publishes all of the input for that, also what an earlier import has
done: the channel skips it. The exit code is 5 if something has no outcome in time, else 6 if
something was given up, else 9 if lines were rejected.`

// maxInFlight bounds --in-flight.
const maxInFlight = 4096

type importFlags struct {
	rejects  string
	restart  bool
	refs     bool
	inFlight int
	dryRun   bool
	wait     bool
	timeout  time.Duration
	topic    string

	csv       bool
	columns   operate.CSV
	separator string
}

// ImportCommand returns the command that publishes the entities of a file.
func ImportCommand(sh *Shell) *cobra.Command {
	var (
		f      importFlags
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "import CHANNEL FILE",
		Short: "Publish the entities of a file",
		Long:  importHelp,
		Example: `  extsync import erp_db policies.ndjson
  extsync import erp_db policies.csv --csv-key id --csv-version revision --csv-json premium,active
  zcat policies.ndjson.gz | extsync import erp_db - --rejects bad.ndjson
  extsync import erp_db policies.ndjson --dry-run
  extsync import erp_db policies.ndjson --wait --timeout 1h
  extsync import --topic policies policies.ndjson`,
		RunE: func(cmd *cobra.Command, args []string) error {
			route, args, err := routed(f.topic, args)
			if err != nil {
				return err
			}
			if f.inFlight < 1 || f.inFlight > maxInFlight {
				return fmt.Errorf("%w: --in-flight: %d is outside 1..%d", errUsage, f.inFlight, maxInFlight)
			}
			if err := f.checkWait(cmd.Flags()); err != nil {
				return err
			}
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *operate.Client) error {
				return runImport(ctx, sh, client, route, args[0], f)
			})
		},
	}
	cmd.Flags().StringVar(&f.rejects, "rejects", "", "file for what cannot be published (default FILE.CHANNEL.rejects)")
	cmd.Flags().BoolVar(&f.refs, "refs", false, "have what lines say under \"refs\" remembered of their keys")
	cmd.Flags().BoolVar(&f.restart, "restart", false, "begin anew, wherever an earlier import has ended")
	cmd.Flags().IntVar(&f.inFlight, "in-flight", 256, "how many updates are on their way to the broker at once")
	topicFlag(cmd, &f.topic, 2)
	f.waitFlags(cmd)
	f.csvFlags(cmd)
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return completeChannels(sh, loader, 1)(c, args, word)
	}
	return cmd
}

// imported is what import tells.
type imported struct {
	Channel string `json:"channel,omitempty"`
	Topic   string `json:"topic,omitempty"`
	From    int64  `json:"from"`
	// SkippedLines were done by an earlier import to the same stream. Anew says why one
	// that there was does not count.
	SkippedLines int64  `json:"skipped_lines,omitempty"`
	Anew         string `json:"anew,omitempty"`
	operate.ImportSummary
	Rejects string `json:"rejects,omitempty"`
	// Arrived is what became of it, with --wait.
	Arrived *operate.Arrived `json:"arrived,omitempty"`
}

func runImport(ctx context.Context, sh *Shell, client *operate.Client, route events.Route, name string, f importFlags) error {
	if err := client.CheckRoute(ctx, route); err != nil {
		return err
	}
	stream, err := client.StreamIdentity(ctx, route)
	if err != nil {
		return err
	}
	input, err := openImport(sh, route, stream, name, f.restart || f.wait || f.dryRun)
	if err != nil {
		return err
	}
	if err := sayResumed(sh, input, name); err != nil {
		return err
	}
	defer func() { _ = input.close() }() // only read from
	if f.rejects == "" && !f.dryRun {
		f.rejects = name + "." + routeInFiles(route) + ".rejects"
		if name == "-" {
			f.rejects = "import." + routeInFiles(route) + ".rejects"
		}
	}
	if err := notTheSame(f.rejects, name, input.path); err != nil {
		return err
	}
	rejects := rejectFile{name: f.rejects, keep: input.from > 0}
	defer func() { _ = rejects.close() }() // each line was written
	from, line, in, err := f.header(input, name)
	if err != nil {
		return err
	}
	o := operate.ImportOptions{
		Route: route, In: in, From: from, Line: line, InFlight: f.inFlight, Refs: f.refs, CSV: f.columnsOf(name),
		Reject: rejects.write,
		Waits:  sh.sayWaiting(),
	}
	if f.dryRun {
		return tryImport(ctx, sh, client, input, &rejects, o)
	}
	sh.goOn = "run the same command again: it goes on behind what is done"
	if input.path == "" || f.wait { // it cannot be known how far another input is done
		sh.goOn = "run it again with all of the input: what the channel has already is skipped"
	}
	doc := imported{Channel: route.Channel(), Topic: route.Topic(), From: input.from, SkippedLines: input.line, Anew: input.anew}
	err = publishImport(ctx, sh, client, input, o, f, &doc)
	if doc.Rejected+input.before > 0 {
		doc.Rejects = f.rejects
	}
	if err := errors.Join(err, writeImported(sh, doc)); err != nil {
		return err
	}
	return doc.verdict(input.before)
}

// publishImport publishes and, with --wait, waits.
func publishImport(ctx context.Context, sh *Shell, client *operate.Client, input *importInput, o operate.ImportOptions, f importFlags, doc *imported) (err error) {
	if f.wait {
		if o.Arrivals, err = client.Follow(ctx, o.Route.Name()); err != nil {
			return err
		}
		defer o.Arrivals.Close()
	}
	bar := sh.progress("bytes", input.size)
	o.Progress = func(s operate.ImportSummary) error {
		bar.set(s.Offset)
		return input.save(s)
	}
	doc.ImportSummary, err = client.Import(ctx, o)
	bar.end()
	if err != nil || !f.wait {
		return err
	}
	return awaitImport(ctx, sh, o, f.timeout, doc)
}

// sayResumed says, before anything is published, what of the input is left out and
// why, or why it is not.
func sayResumed(sh *Shell, input *importInput, name string) error {
	text := ""
	switch {
	case input.anew != "":
		text = fmt.Sprintf("%s begins anew: %s\n", name, input.anew)
	case input.from > 0 && input.from == input.size:
		text = fmt.Sprintf("%s: nothing is left to publish: all %d lines were done by an earlier import to this very stream, says %s; --restart begins anew\n",
			name, input.line, input.path)
		if input.before > 0 {
			text += fmt.Sprintf("%d of them were rejected then: correct them in the input and run it again\n", input.before)
		}
	case input.from > 0:
		text = fmt.Sprintf("%s goes on behind line %d: what is before was done by an earlier import to this very stream, says %s; --restart begins anew\n",
			name, input.line, input.path)
	}
	_, err := io.WriteString(sh.Err, text)
	return err
}

func writeImported(sh *Shell, doc imported) error {
	if sh.JSON {
		return sh.WriteJSON(doc)
	}
	text := fmt.Sprintf("%s: %d stored, %d there before, %d older than what is there, %d rejected; done up to line %d\n",
		doc.Channel+doc.Topic, doc.Stored, doc.Duplicates, doc.Stale, doc.Rejected, doc.Line)
	if doc.Rejects != "" {
		text += "rejects: " + doc.Rejects + "\n"
	}
	if doc.Arrived != nil {
		text += arrivedText(doc.Arrived)
	}
	_, err := io.WriteString(sh.Out, text)
	return err
}

// sayEvery is how often is said that a command waits for the broker.
const sayEvery = 10 * time.Second

// sayWaiting returns what says on standard error, now and then, why a command stands still.
func (sh *Shell) sayWaiting() func(error) {
	var mu sync.Mutex
	var said time.Time
	return func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(said) < sayEvery {
			return
		}
		said = time.Now()
		_, _ = fmt.Fprintf(sh.Err, "\nwaiting for the broker: %s\n", clean(oneLine(words.Of(err)))) // there is nobody else to tell
	}
}
