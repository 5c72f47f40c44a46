package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/internal/tryout"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// writeTried shows what came of a sample update; unsent says what would send it.
func writeTried(sh *Shell, d *tryout.Report, unsent string) error {
	if sh.JSON {
		return sh.WriteJSON(d)
	}
	var b strings.Builder
	write := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name, clean(text))
		}
	}
	line := func(name, text string) { write(name+":", text) }
	document := func(name, text string) { // which may have lines
		name += ":"
		for text := range strings.Lines(text) {
			write(name, strings.TrimRight(text, "\r\n"))
			name = ""
		}
	}
	line("update", fmt.Sprintf("channel %s, key %s, version %s, op %s", d.Channel, d.Key, d.Version, d.Op))
	switch d.Decision {
	case tryout.Filtered:
		line("filter", unpassed(d))
	case tryout.Failed:
		line("fails", d.Error.Class+reason(d.Error.Code, d.Error.Message))
	}
	line("content", d.ContentType)
	document("payload", d.Payload)
	if p := d.Preview; p != nil {
		writePreview(d, p, line, document)
	}
	if r := d.Result; r != nil {
		line("result", r.Class+reason(r.Code, r.Error))
		line("held", r.Held.String())
		if r.RetryAfter > 0 {
			line("wait", r.RetryAfter.D().String())
		}
		line("answer", oneLine(r.Response))
	} else if d.Decision == tryout.Send {
		b.WriteString(unsent + "\n")
	}
	_, err := io.WriteString(sh.Out, b.String())
	return err
}

// unpassed says what becomes of an update that does not pass the filter.
func unpassed(d *tryout.Report) string {
	if d.Removes {
		return "does not pass: the key would be deleted where the target holds it, and the outcome would be delivered with code removed; else with code filtered"
	}
	return "does not pass: nothing would be sent, and the outcome would be delivered with code filtered"
}

func writePreview(d *tryout.Report, p *connectors.Preview, line, document func(name, text string)) {
	if p.Method != "" {
		line("request", p.Method+" "+p.URL)
		for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
			line("header", name+": "+p.Headers[name])
		}
		document("body", d.Body)
	}
	line("statement", p.Statement)
	for i, v := range p.Parameters {
		text, err := json.Marshal(v)
		if err != nil {
			text = []byte(fmt.Sprintf("(%T)", v))
		}
		line("parameter", fmt.Sprintf("%d: %s", i+1, text))
	}
}
