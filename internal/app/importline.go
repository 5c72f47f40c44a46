package app

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// MaxImportLine bounds a line of an import, in bytes.
const MaxImportLine = 16 << 20

// errLine says that a line of an import cannot be read as an update.
var errLine = errors.New("line is not an update")

// importLine is a line of an import.
type importLine struct {
	Key         string             `json:"key"`
	Version     versioning.Version `json:"version"`
	Op          events.Op          `json:"op"`
	Payload     json.RawMessage    `json:"payload"`
	Bytes       []byte             `json:"payload_base64"`
	ContentType string             `json:"content_type"`
	Type        string             `json:"type"`
	Source      string             `json:"source"`
}

// decodeImportLine reads a line as an update of a channel. The payload is a JSON
// value, taken byte by byte, or base64 for anything else.
func decodeImportLine(channel string, line []byte) (events.Update, error) {
	if err := events.CheckJSON(line); err != nil {
		return events.Update{}, fmt.Errorf("%w: %w", errLine, err)
	}
	var l importLine
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&l); err != nil {
		return events.Update{}, fmt.Errorf("%w: %w", errLine, err)
	}
	u := events.Update{
		Channel: channel, Key: l.Key, Version: l.Version, Op: l.Op, ContentType: l.ContentType, Type: l.Type, Source: l.Source, Payload: l.Payload,
	}
	if len(l.Bytes) > 0 {
		if len(l.Payload) > 0 {
			return events.Update{}, fmt.Errorf("%w: it has both payload and payload_base64", errLine)
		}
		u.Payload = l.Bytes
	}
	u = u.WithDefaults()
	if err := u.CheckPayload(); err != nil {
		return events.Update{}, fmt.Errorf("%w: %w", errLine, err)
	}
	return u, u.Validate()
}

// A lineReader reads lines of a bounded length.
type lineReader struct {
	in     *bufio.Reader
	most   int
	offset int64 // behind the last line that was given
	number int64
}

// next returns the next line without its end. long says that it is longer than
// allowed: then only its beginning is returned. The line is the caller's.
func (r *lineReader) next() (line []byte, long bool, err error) {
	for {
		part, err := r.in.ReadSlice('\n')
		r.offset += int64(len(part))
		if room := r.most + 1 - len(line); len(part) > room {
			part = part[:room]
		}
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && len(line) > 0, err == nil:
			r.number++
			line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
			if len(line) > r.most {
				return line[:r.most], true, nil
			}
			return line, false, nil
		default:
			return nil, false, err
		}
	}
}
