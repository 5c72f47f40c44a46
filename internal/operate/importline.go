package operate

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/hms-utl/extsync/internal/draft"
	"github.com/hms-utl/extsync/pkg/events"
)

// MaxImportLine bounds a line of an import, in bytes.
const MaxImportLine = 16 << 20

// errLine says that a line of an import cannot be read as an update.
var errLine = errors.New("line is not an update")

// decodeImportLine reads a line as an update of a channel or topic, and what is to be remembered of
// its key.
func decodeImportLine(names events.Names, r events.Route, line []byte) (events.Update, events.Refs, error) {
	d := draft.Line(line)
	u, bad := d.For(names, r)
	if len(bad) == 0 {
		return u, d.Refs, nil
	}
	texts := make([]string, len(bad))
	for i, b := range bad {
		texts[i] = b.Message
		if b.Field != "" {
			texts[i] = b.Field + ": " + b.Message
		}
	}
	return u, nil, fmt.Errorf("%w: %s", errLine, strings.Join(texts, "; "))
}

// A lineReader reads lines of a bounded length.
type lineReader struct {
	in     *bufio.Reader
	most   int
	csv    *CSV  // not nil: a line ends where no cell is in quotes
	offset int64 // behind the last line that was given
	number int64
	first  int64 // number of the line in which the last record began
}

// next returns the next line without its end. long says that it is longer than
// allowed: then only its beginning is returned. The line is the caller's.
func (r *lineReader) next() (line []byte, long bool, err error) {
	r.first = r.number + 1
	var cell csvCell
	for {
		part, err := r.in.ReadSlice('\n')
		r.offset += int64(len(part))
		if r.csv != nil {
			cell.read(part, r.csv.Separator)
		}
		if room := r.most + 1 - len(line); len(part) > room {
			part = part[:room]
		}
		line = append(line, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == nil && cell.quoted: // it goes on
			r.number++
			continue
		case errors.Is(err, io.EOF) && len(line) > 0, err == nil:
			if !cell.quoted || len(part) > 0 { // else the line was counted when its cell went on
				r.number++
			}
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
