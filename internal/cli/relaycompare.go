package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
)

// compareRelay compares the query of a relay with the broker.
func compareRelay(ctx context.Context, sh *Shell, cfg config.Config, repair bool) (err error) {
	if cfg.Relay.Query == "" {
		return fmt.Errorf("%w: --compare needs the query that selects the platform's rows (--relay-query): an outbox holds only what is not published yet", errUsage)
	}
	source, err := app.OpenSource(cfg.Relay)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.DB.Close()) }()
	if err := source.Check(ctx); err != nil {
		return err
	}
	client, err := operate.Connect(ctx, cfg, sh.Logger(cfg.Log, zerolog.ErrorLevel))
	if err != nil {
		return err
	}
	defer client.Close()
	client.EndOnRefusal(sh.end)

	sh.goOn = "what was published stays so; a comparison begins anew when it is run again"
	o := app.CompareOptions(cfg.Relay, source)
	o.Repair = repair
	o.Found = func(d operate.Disagreeing) error {
		if sh.JSON {
			return writeLine(sh.Out, d)
		}
		_, err := io.WriteString(sh.Out, clean(disagreement(d))+"\n")
		return err
	}
	bar := sh.progress("rows", 0)
	o.Progress = func(s operate.Comparison) { bar.set(s.Rows) }
	sum, err := client.Compare(ctx, o)
	bar.end()
	if err != nil {
		return err
	}
	if sh.JSON {
		err = writeLine(sh.Out, map[string]operate.Comparison{"summary": sum})
	} else {
		err = writeComparison(sh.Out, sum, repair)
	}
	if err == nil && sum.Open() > 0 {
		err = errFound
	}
	return err
}

// writeLine writes a line of JSON.
func writeLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func disagreement(d operate.Disagreeing) string {
	text := fmt.Sprintf("%-8s %s %s: ", d.Finding, d.Target, d.Key)
	switch d.Finding {
	case operate.CompareMissing:
		text += fmt.Sprintf("the platform has version %s", d.Platform)
	case operate.CompareGone:
		text += fmt.Sprintf("the broker has version %s", d.Broker)
	case operate.CompareBad:
		return text + d.Note
	case operate.CompareDiffers:
		if d.Platform == d.Broker {
			text += fmt.Sprintf("both have version %s, with other content", d.Platform)
			break
		}
		fallthrough
	default:
		text += fmt.Sprintf("the platform has version %s, the broker %s", d.Platform, d.Broker)
	}
	if d.Note != "" {
		return text + "; not published: " + d.Note
	}
	if d.Repaired {
		text += "; published"
	}
	return text
}

// writeComparison writes what it adds up to, and what to do about it.
func writeComparison(w io.Writer, s operate.Comparison, repair bool) error {
	text := fmt.Sprintf("%d rows: %d agree, %d missing, %d behind, %d ahead, %d differ, %d gone, %d bad\n", s.Rows, s.Agree, s.Missing, s.Behind, s.Ahead, s.Differs, s.Gone, s.Bad)
	switch lacks := s.Missing + s.Behind; {
	case repair && lacks > 0:
		text += fmt.Sprintf("%d of %d were published.\n", s.Repaired, lacks)
	case lacks > 0:
		text += "missing, behind: --repair publishes them.\n"
	}
	for _, next := range []struct {
		n    int64
		text string
	}{
		{s.Ahead, "ahead: the platform was restored from an older copy, or somebody else publishes these keys. Have it write them under versions above the broker's; until then what it writes is stale."},
		{s.Differs, "differs: the content of a version was changed. Have the platform write these rows under new versions."},
		{s.Gone, "gone: the rows were deleted, and there is no version for that. If the target is to lose them, publish a delete ('extsync push TARGET KEY VERSION --op delete')."},
		{s.Bad, "bad: correct the rows, or leave them out in the query."},
	} {
		if next.n > 0 {
			text += next.text + "\n"
		}
	}
	_, err := io.WriteString(w, text)
	return err
}
