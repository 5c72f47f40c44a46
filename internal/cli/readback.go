package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/internal/contents"
	"github.com/hms-utl/extsync/internal/operate"
)

// readBack shows what a target holds of a key.
func readBack(ctx context.Context, sh *Shell, client *operate.Client, channel, key string) error {
	b, err := client.ReadBack(ctx, channel, key)
	if err != nil {
		return err
	}
	if sh.JSON {
		return sh.WriteJSON(b)
	}
	var text strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&text, "%-10s %s\n", name, clean(value))
		}
	}
	if b.Wanted != nil {
		line("wanted", b.Wanted.Version.String())
	}
	switch {
	case !b.Readable:
	case !b.Target.Found:
		line("target", "holds nothing of the key")
	default:
		line("target", b.Target.Version.String())
	}
	line("would", b.Decision)
	line("error", b.Error)
	line("not read", b.WhyNot)
	rows := make([][]string, len(b.Fields))
	for i, f := range b.Fields {
		how := string(f.Difference)
		if f.Equal != nil {
			how += map[bool]string{true: ", equal", false: ", not equal"}[*f.Equal]
		}
		rows[i] = []string{f.Path, how, shownValue(f.Ours), shownValue(f.Theirs)}
	}
	if _, err := io.WriteString(sh.Out, text.String()); err != nil {
		return err
	}
	if len(rows) > 0 {
		if err := writeTable(sh.Out, []string{"FIELD", "DIFFERENCE", "WOULD SEND", "AT TARGET"}, rows); err != nil {
			return err
		}
	}
	if b.More > 0 {
		_, err = fmt.Fprintln(sh.Out, strconv.Itoa(b.More)+" more fields")
	}
	return err
}

// shownValue returns a value of a table.
func shownValue(value json.RawMessage) string { return contents.ClipText(string(value), 80) }
