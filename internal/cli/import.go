package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
)

const importHelp = `Publish the entities of a file, one JSON object a line:

  {"key": "p-2023-vax", "version": 7, "payload": {"content": "Booster"}}
  {"key": "p-2024-flu", "version": "2024-05-01T12:00:00Z", "op": "delete"}

content_type, type and source may be given too, and payload_base64 for what is
not JSON. What the channel has already is skipped, and so is what is older than
what it has. Lines that cannot be published go to a file with their line number and the
reason, and the exit code is 8.

How far all is done is kept in a file beside the input: an import that was
interrupted goes on there, and one that is finished ends at once, and says so. That
counts for the stream that has the updates: at another broker, after the channel's
stream was made again, and after 'extsync recover', an import begins anew; it does, too,
when something was changed in what is done. So lines that were rejected may be corrected
in place, and the import run again: what the channel has already is skipped. Standard
input (-) has no such file.

A broker that is full ends the import, with exit code 3; it can go on later.`

// maxInFlight bounds --in-flight.
const maxInFlight = 4096

type importFlags struct {
	rejects  string
	restart  bool
	inFlight int
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
  zcat policies.ndjson.gz | extsync import erp_db - --rejects bad.ndjson`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.inFlight < 1 || f.inFlight > maxInFlight {
				return fmt.Errorf("%w: --in-flight: %d is outside 1..%d", errUsage, f.inFlight, maxInFlight)
			}
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *app.Client) error {
				return runImport(ctx, sh, client, args[0], args[1], f)
			})
		},
	}
	cmd.Flags().StringVar(&f.rejects, "rejects", "", "file for what cannot be published (default FILE.CHANNEL.rejects)")
	cmd.Flags().BoolVar(&f.restart, "restart", false, "begin anew, wherever an earlier import has ended")
	cmd.Flags().IntVar(&f.inFlight, "in-flight", 64, "how many updates are on their way to the broker at once")
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
	Channel string `json:"channel"`
	From    int64  `json:"from"`
	// SkippedLines were done by an earlier import to the same stream. Anew says why one
	// that there was does not count.
	SkippedLines int64  `json:"skipped_lines,omitempty"`
	Anew         string `json:"anew,omitempty"`
	app.ImportSummary
	Rejects string `json:"rejects,omitempty"`
}

func runImport(ctx context.Context, sh *Shell, client *app.Client, channel, name string, f importFlags) error {
	registry, err := client.Registry(ctx)
	if err != nil {
		return err
	}
	if _, err := registry.Get(ctx, channel); err != nil {
		return err
	}
	stream, err := client.StreamIdentity(ctx, channel)
	if err != nil {
		return err
	}
	input, err := openImport(sh, channel, stream, name, f.restart)
	if err != nil {
		return err
	}
	if err := sayResumed(sh, input, name); err != nil {
		return err
	}
	defer func() { _ = input.close() }() // only read from
	if f.rejects == "" {
		f.rejects = name + "." + channel + ".rejects"
		if name == "-" {
			f.rejects = "import." + channel + ".rejects"
		}
	}
	rejects := rejectFile{name: f.rejects, keep: input.from > 0}
	defer func() { _ = rejects.close() }() // each line was written
	bar := sh.progress("bytes", input.size)
	sum, err := client.Import(ctx, app.ImportOptions{
		Channel: channel, In: input.in, From: input.from, Line: input.line, InFlight: f.inFlight,
		Reject: rejects.write,
		Progress: func(s app.ImportSummary) error {
			bar.set(s.Offset)
			return input.save(s)
		},
	})
	bar.end()
	doc := imported{Channel: channel, From: input.from, SkippedLines: input.line, Anew: input.anew, ImportSummary: sum}
	if sum.Rejected+input.before > 0 {
		doc.Rejects = f.rejects
	}
	if err := errors.Join(err, writeImported(sh, doc)); err != nil {
		return err
	}
	if sum.Rejected+input.before > 0 {
		return errFound
	}
	return nil
}

// sayResumed says, before anything is published, what of the input is left out and
// why, or why it is not.
func sayResumed(sh *Shell, input *importInput, name string) error {
	text := ""
	switch {
	case input.anew != "":
		text = fmt.Sprintf("%s begins anew: %s\n", name, input.anew)
	case input.from > 0 && input.from == input.size:
		text = fmt.Sprintf("%s NOTHING IS LEFT TO PUBLISH: all %d lines were done by an earlier import to this very stream, says %s; --restart begins anew\n",
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
		doc.Channel, doc.Stored, doc.Duplicates, doc.Stale, doc.Rejected, doc.Line)
	if doc.Rejects != "" {
		text += "rejects: " + doc.Rejects + "\n"
	}
	_, err := io.WriteString(sh.Out, text)
	return err
}

// A rejectFile takes what cannot be published. It is made with the first line.
type rejectFile struct {
	name string
	keep bool // what an earlier part of the import has written
	file *os.File
}

func (r *rejectFile) write(reject app.ImportReject) error {
	if r.file == nil {
		flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
		if !r.keep {
			flags |= os.O_TRUNC
		}
		var err error
		if r.file, err = os.OpenFile(r.name, flags, 0o600); err != nil {
			return fmt.Errorf("rejects: %w", err)
		}
	}
	data, err := json.Marshal(reject)
	if err != nil {
		return fmt.Errorf("rejects: %w", err)
	}
	if _, err := r.file.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("rejects: %w", err)
	}
	return nil
}

func (r *rejectFile) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
