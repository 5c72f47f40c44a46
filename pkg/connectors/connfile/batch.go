package connfile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const codePayload = "payload"

var errNoHeader = errors.New("the payload does not begin with a header, which batch csv needs")

// A batchFile is one that a batch is written into, with the attempts that are in it.
type batchFile struct {
	name     string
	data     []byte
	attempts []int
}

// applyBatch writes the attempts into as few files as there can be. Those of one file have
// one result.
func (c *connector) applyBatch(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	batch, results := c.join(attempts)
	fail := func(file batchFile, res connectors.Result) {
		for _, i := range file.attempts {
			results[i] = res
		}
	}
	f, err := c.store.begin(ctx)
	if err != nil {
		for _, file := range batch {
			fail(file, c.failed(ctx, err))
		}
		return results
	}
	defer f.end()
	for _, file := range batch {
		if err := c.drop(ctx, f, file.name, file.data); err != nil {
			fail(file, c.failed(ctx, err))
			continue
		}
		fail(file, connectors.Done())
	}
	return results
}

// join returns the files of a batch, and the results of attempts that are in none.
func (c *connector) join(attempts []connectors.Attempt) ([]batchFile, []connectors.Result) {
	results := make([]connectors.Result, len(attempts))
	var out []batchFile
	at := map[string]int{} // the place in out, by header
	into := func(header []byte, i int) *batchFile {
		place, ok := at[string(header)]
		if !ok {
			place = len(out)
			at[string(header)] = place
			out = append(out, batchFile{name: c.batchName(), data: bytes.Clone(header)})
		}
		out[place].attempts = append(out[place].attempts, i)
		return &out[place]
	}
	for i := range attempts {
		a := &attempts[i]
		switch {
		case c.Batch == ndjsonBatch:
			file := into(nil, i)
			file.data = appendLine(file.data, a)
		case a.Op == events.Delete:
			out = append(out, batchFile{c.dropName(a), c.content(a), []int{i}})
		default:
			header, rows, ok := splitCSV(a.Payload)
			if !ok {
				results[i] = connectors.Unasked(codePayload, errNoHeader)
				continue
			}
			file := into(header, i)
			if file.data = append(file.data, rows...); !bytes.HasSuffix(file.data, []byte("\n")) {
				file.data = append(file.data, '\n')
			}
		}
	}
	return out, results
}

// batchName returns a name that nobody else takes. Those of one worker sort by time.
func (c *connector) batchName() string {
	ext := c.Extension
	if c.Batch == ndjsonBatch {
		ext = ndjsonBatch
	}
	now := versioning.Must(versioning.Time(time.Now()))
	return fmt.Sprintf("batch-%s-%s.%s", versionName(now), random(), ext)
}

// A line is an update in a file of NDJSON. It has its content in one of three ways.
type line struct {
	tag
	Content json.RawMessage `json:"content,omitempty"` // JSON
	Text    string          `json:"text,omitempty"`    // any other text
	Bytes   []byte          `json:"base64,omitempty"`  // what is no text
}

func appendLine(data []byte, a *connectors.Attempt) []byte {
	l := line{tag: tag{a.Key, versioning.Tag{Version: a.Version, Digest: a.Digest}, a.Op}}
	switch {
	case json.Valid(a.Payload):
		l.Content = a.Payload
	case utf8.Valid(a.Payload):
		l.Text = string(a.Payload)
	default:
		l.Bytes = a.Payload
	}
	text, _ := json.Marshal(l) // which is all texts, and valid
	return append(append(data, text...), '\n')
}

// splitCSV returns the first record of a CSV document with its line end, and what is behind
// it.
func splitCSV(data []byte) (header, rows []byte, ok bool) {
	quoted := false
	for i, c := range data {
		switch {
		case c == '"':
			quoted = !quoted // a doubled quote is out and in again
		case c == '\n' && !quoted:
			return data[:i+1], data[i+1:], len(bytes.TrimSpace(data[:i])) > 0
		}
	}
	return nil, nil, false
}
