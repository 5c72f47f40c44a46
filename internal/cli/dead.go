package cli

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/schema"
)

// DeadCommand returns the commands about dead letters.
func DeadCommand(sh *Shell) *cobra.Command {
	cmd := Group("dead", "List, show, send again and discard dead letters", deadList(sh), deadGroups(sh), deadShow(sh), deadMany(sh, replay()), deadMany(sh, discard()))
	cmd.Long = `A dead letter is an update that was given up: its attempts were spent, or the
target will never take it, or it is a conflict. It keeps the whole update.

A letter is open while there is something to do about it, pending while its
outcome is on its way to the ledger, and resolved when the key was delivered
after all.`
	return cmd
}

// letterFilter are the flags that select letters.
type letterFilter struct {
	deadletters.Filter
	outcome, state, after, before string
}

func (f *letterFilter) declare(cmd *cobra.Command, states bool) {
	flags := cmd.Flags()
	flags.StringVar(&f.Channel, "channel", "", "of this channel only")
	flags.StringVar(&f.Key, "key", "", "of this key only; needs --channel")
	flags.StringVar(&f.outcome, "outcome", "", "dead_lettered or conflict")
	flags.StringVar(&f.Class, "class", "", "of this error class only, such as permanent")
	flags.StringVar(&f.Code, "code", "", "of this error code only, such as 422")
	flags.StringVar(&f.after, "after", "", "stored at this RFC 3339 time or later, or so long ago (2h, 7d)")
	flags.StringVar(&f.before, "before", "", "stored before this RFC 3339 time, or longer ago than this (2h, 7d)")
	flags.StringVar(&f.Prefix, "key-prefix", "", "of keys that begin with this only")
	flags.StringVar(&f.Group, "group", "", "of this group only, see 'dead groups'")
	if states {
		flags.StringVar(&f.state, "state", string(deadletters.StateOpen), "open, pending, resolved or any")
	}
}

// filter returns what the flags say, and whether they say anything.
func (f *letterFilter) filter(now time.Time) (out deadletters.Filter, any bool, err error) {
	out = f.Filter
	out.Outcome = events.Outcome(f.outcome)
	if f.state == "any" {
		out.AnyState = true
	} else {
		out.State = deadletters.State(f.state)
	}
	if out.After, err = moment(f.after, now); err != nil {
		return out, false, fmt.Errorf("%w: --after: %w", errUsage, err)
	}
	if out.Before, err = moment(f.before, now); err != nil {
		return out, false, fmt.Errorf("%w: --before: %w", errUsage, err)
	}
	any = f.Channel != "" || f.Key != "" || f.outcome != "" || f.Class != "" || f.Code != "" || f.after != "" || f.before != "" || f.Prefix != "" || f.Group != ""
	return out, any, nil
}

// selection is the filter as a job keeps it.
func (f *letterFilter) selection(of deadletters.Filter) jobs.Letters {
	out := jobs.Letters{
		Channel: of.Channel, Key: of.Key, Prefix: of.Prefix, Outcome: string(of.Outcome), Class: of.Class, Code: of.Code,
		Group: of.Group, After: of.After, Before: of.Before, State: string(of.State),
	}
	if of.AnyState {
		out.State = "any"
	}
	return out
}

// moment reads a time, or a duration before now; "" is the zero time.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := schema.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%q is neither a time such as 2026-05-01T12:00:00Z nor a duration such as 2h or 7d", clean(text))
	}
	return at, nil
}

func deadList(sh *Shell) *cobra.Command {
	var (
		f      letterFilter
		limit  int
		cursor uint64
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List dead letters, oldest first",
		Long: `List dead letters, oldest first: those that are open, unless --state says
otherwise. The first column is the number by which the other commands know them.`,
		Example: `  extsync dead list
  extsync dead list --channel erp_db --after 24h
  extsync dead list --code 422 --limit 1000 --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, _, err := f.filter(time.Now())
			if err != nil {
				return err
			}
			if limit < 1 || limit > deadletters.MaxPage {
				return fmt.Errorf("%w: --limit: %d is outside 1..%d", errUsage, limit, deadletters.MaxPage)
			}
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				page, err := client.Letters(ctx, filter, limit, cursor)
				if err != nil {
					return err
				}
				return writeLetters(sh, page)
			})
		},
	}
	f.declare(cmd, true)
	cmd.Flags().IntVar(&limit, "limit", deadletters.DefaultPage, "how many at most")
	cmd.Flags().Uint64Var(&cursor, "cursor", 0, "go on from here, as the page before said")
	loader = brokerFlags(cmd)
	return cmd
}

func writeLetters(sh *Shell, page operate.LetterPage) error {
	if sh.JSON {
		return sh.WriteJSON(page)
	}
	rows := make([][]string, len(page.Letters))
	for i, e := range page.Letters {
		rows[i] = []string{
			strconv.FormatUint(e.Sequence, 10), timeText(e.Stored), e.Channel, letterKey(&e), e.Version.String(), string(e.State),
			string(e.Outcome), attemptsText(e.Attempts), strings.TrimPrefix(reason(e.Class, e.Code, e.Reason), ": "),
		}
	}
	err := writeTable(sh.Out, []string{"LETTER", "STORED", "CHANNEL", "KEY", "VERSION", "STATE", "OUTCOME", "ATTEMPTS", "REASON"}, rows)
	if err == nil && page.Next != 0 {
		_, err = fmt.Fprintf(sh.Out, "there are more: --cursor %d\n", page.Next)
	}
	return err
}

func letterKey(e *deadletters.Entry) string {
	if e.Key == "" {
		return e.EncodedKey
	}
	return e.Key
}

func deadShow(sh *Shell) *cobra.Command {
	var (
		content bool
		loader  *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "show LETTER",
		Short: "Show a dead letter",
		Long: `Show a dead letter: why and when the update was given up, and what the target
answered. --payload shows the update, too, but for fields that the channel hides,
with --json also its headers; the audit log notes that.`,
		Example: `  extsync dead show 17
  extsync dead show 17 --payload`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			letters, err := letterNumbers(args)
			if err != nil {
				return err
			}
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				l, err := client.Letter(ctx, letters[0])
				if err != nil {
					return err
				}
				if content {
					shown, err := client.LetterContent(ctx, l)
					if err != nil {
						return err
					}
					return writeContent(sh, shown)
				}
				if sh.JSON {
					return sh.WriteJSON(l)
				}
				_, err = io.WriteString(sh.Out, letterText(l))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&content, "payload", false, "the content of the update, too")
	loader = brokerFlags(cmd)
	return cmd
}

func writeContent(sh *Shell, l operate.LetterContent) error {
	if sh.JSON {
		return sh.WriteJSON(l)
	}
	text := letterText(l.Letter)
	if len(l.Hidden) > 0 {
		text += fmt.Sprintf("%-14s %s\n", "hidden:", clean(strings.Join(l.Hidden, ", ")))
	}
	payload := []byte(l.Payload)
	if payload == nil {
		payload, _ = base64.StdEncoding.DecodeString(l.PayloadBase64) // it was made so
	}
	if utf8.Valid(payload) {
		text += "\n" + clean(string(payload)) + "\n"
	} else {
		text += fmt.Sprintf("\n(%d bytes that are no text; --json shows them)\n", l.PayloadSize)
	}
	_, err := io.WriteString(sh.Out, text)
	return err
}

func letterText(e operate.Letter) string {
	var b strings.Builder
	for _, line := range [][2]string{
		{"letter", strconv.FormatUint(e.Sequence, 10)},
		{"channel", e.Channel},
		{"key", letterKey(&e.Entry)},
		{"version", e.Version.String()},
		{"op", string(e.Op)},
		{"state", string(e.State)},
		{"settled by", e.By.String()},
		{"outcome", string(e.Outcome)},
		{"reason", strings.TrimPrefix(reason(e.Class, e.Code, e.Reason), ": ")},
		{"answer", e.Response},
		{"malformed", e.Malformed},
		{"attempts", attemptsText(e.Attempts)},
		{"first attempt", timeText(e.First)},
		{"last attempt", timeText(e.Last)},
		{"stored", timeText(e.Stored)},
		{"worker", e.Worker},
		{"id", e.ID},
		{"content type", e.ContentType},
	} {
		if line[1] != "" {
			fmt.Fprintf(&b, "%-14s %s\n", line[0]+":", clean(line[1]))
		}
	}
	return b.String()
}

func letterNumbers(args []string) ([]uint64, error) {
	out := make([]uint64, len(args))
	for i, arg := range args {
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%w: %q is not the number of a dead letter", errUsage, clean(arg))
		}
		out[i] = n
	}
	return out, nil
}

// A deadAction is what can be done to letters.
type deadAction struct {
	act                  operate.LetterAct
	short, long, example string
	states               bool // letters of all states can be meant
}

func replay() deadAction {
	return deadAction{
		act: operate.Replay, short: "Send dead letters again",
		long: `Have the workers send the updates of dead letters again, now, and a few times within
ten seconds where the target cannot take them. What a newer version has overtaken is not sent, so a
replay never puts old content over new. A letter whose update fails again stays
as it is. Without a worker nothing is sent.`,
		example: `  extsync dead replay 17
  extsync dead replay --channel erp_db --code 42P01 --yes`,
	}
}
