package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// tested is what test tells.
type tested struct {
	Channel string             `json:"channel"`
	Key     string             `json:"key"`
	Version versioning.Version `json:"version"`
	Op      events.Op          `json:"op"`
	// Decision is send, filtered, or failed when filter or mapping fail.
	Decision string              `json:"decision"`
	Error    *events.Failure     `json:"error,omitempty"`
	Payload  string              `json:"payload,omitempty"` // after the mapping
	Preview  *connectors.Preview `json:"preview,omitempty"`
	Body     string              `json:"body,omitempty"` // of the preview's request
	Result   *testResult         `json:"result,omitempty"`
}

// testResult is what came of the attempt.
type testResult struct {
	Class    string             `json:"class"`
	Code     string             `json:"code,omitempty"`
	Error    string             `json:"error,omitempty"`
	Held     versioning.Version `json:"held,omitzero"`
	Response string             `json:"response,omitempty"`
}

const (
	decisionSend     = "send"
	decisionFiltered = "filtered"
	decisionFailed   = "failed"
)

// readable returns a payload as text, or says how long it is.
func readable(payload []byte) string {
	if !utf8.Valid(payload) {
		return fmt.Sprintf("(%d bytes that are not text)", len(payload))
	}
	return string(payload)
}

func (d *tested) write(sh *Shell) error {
	if sh.JSON {
		return sh.WriteJSON(d)
	}
	var b strings.Builder
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name+":", clean(text))
		}
	}
	line("update", fmt.Sprintf("channel %s, key %s, version %s, op %s", d.Channel, d.Key, d.Version, d.Op))
	switch d.Decision {
	case decisionFiltered:
		line("filter", "does not pass: nothing would be sent, and the outcome would be delivered with code filtered")
	case decisionFailed:
		line("fails", d.Error.Class+reason(d.Error.Code, d.Error.Message))
	}
	line("payload", d.Payload)
	if p := d.Preview; p != nil {
		d.writePreview(p, line)
	}
	if r := d.Result; r != nil {
		line("result", r.Class+reason(r.Code, r.Error))
		line("held", r.Held.String())
		line("answer", oneLine(r.Response))
	} else if d.Decision == decisionSend {
		b.WriteString("nothing was sent; --send makes this attempt\n")
	}
	_, err := io.WriteString(sh.Out, b.String())
	return err
}

func (d *tested) writePreview(p *connectors.Preview, line func(name, text string)) {
	if p.Method != "" {
		line("request", p.Method+" "+p.URL)
		for _, name := range slices.Sorted(maps.Keys(p.Headers)) {
			line("header", name+": "+p.Headers[name])
		}
		line("body", d.Body)
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
