package operate

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// A CSV says how the records of a CSV file (RFC 4180) become updates. A record may go over
// several lines, in quotes.
type CSV struct {
	// Header has the names of the columns, as ReadHeader returns them.
	Header []string
	// Key, Version and Op name the columns with these. Without a column for Op every record
	// is an upsert; an empty cell is one, too.
	Key, Version, Op string
	// JSON names columns whose cells are JSON: numbers, true, null, objects; an empty cell is
	// null. All others are texts. They are the fields of the payload, in the order of Header.
	JSON []string
	// Separator stands between two cells; 0 is a comma.
	Separator rune
}

// ErrCSV says that the header of a CSV file does not fit.
var ErrCSV = errors.New("the CSV file has not the columns that are needed")

// ReadHeader reads the header from the beginning of a file and keeps it. It returns how many
// bytes and lines it takes. What in has buffered behind it stays there.
func (c *CSV) ReadHeader(in *bufio.Reader) (size, lines int64, err error) {
	r := lineReader{in: in, most: MaxImportLine, csv: c}
	line, long, err := r.next()
	switch {
	case errors.Is(err, io.EOF):
		return 0, 0, fmt.Errorf("%w: it is empty; its first line names the columns", ErrCSV)
	case err != nil:
		return 0, 0, fmt.Errorf("read the input: %w", err)
	case long:
		return 0, 0, fmt.Errorf("%w: its first line is longer than %d bytes", ErrCSV, MaxImportLine)
	}
	if c.Header, err = c.cells(bytes.TrimPrefix(line, []byte("\ufeff"))); err != nil {
		return 0, 0, fmt.Errorf("%w: first line: %w", ErrCSV, err)
	}
	return r.offset, r.number, c.check()
}

// A csvCell follows the bytes of a record as far as its quotes: they open at the beginning of
// a cell only, so that a stray one does not take the lines that follow with it.
type csvCell struct {
	quoted bool // it is within quotes
	ended  bool // the last byte was a quote that ended it, unless another one follows
	inside bool // it has begun, without a quote
}

func (c *csvCell) read(part []byte, separator rune) {
	if separator == 0 {
		separator = ','
	}
	end := utf8.AppendRune(nil, separator)
	last := end[len(end)-1]
	for _, b := range part {
		switch {
		case c.quoted:
			if b == '"' {
				c.quoted, c.ended = false, true
			}
			continue
		case b == '"' && (c.ended || !c.inside):
			c.quoted = true
		}
		c.ended = false
		c.inside = b != last && b != '\n'
	}
}

// check says which columns are missing, or there twice.
func (c *CSV) check() error {
	for i, name := range c.Header {
		switch {
		case name == "":
			return fmt.Errorf("%w: column %d has no name", ErrCSV, i+1)
		case slices.Contains(c.Header[:i], name):
			return fmt.Errorf("%w: column %q is there twice", ErrCSV, name)
		}
	}
	needed := append([]string{c.Key, c.Version}, c.JSON...)
	if c.Op != "" {
		needed = append(needed, c.Op)
	}
	for _, name := range needed {
		if !slices.Contains(c.Header, name) {
			return fmt.Errorf("%w: there is no column %q; there are %s", ErrCSV, name, strings.Join(c.Header, ", "))
		}
	}
	return nil
}

// cells takes a record apart.
func (c *CSV) cells(record []byte) ([]string, error) {
	if !utf8.Valid(record) {
		return nil, errors.New("it is not UTF-8")
	}
	r := csv.NewReader(bytes.NewReader(record))
	if c.Separator != 0 {
		r.Comma = c.Separator
	}
	cells, err := r.Read()
	var syntax *csv.ParseError
	if errors.As(err, &syntax) {
		return nil, fmt.Errorf("column %d: %w", syntax.Column, syntax.Err)
	}
	return cells, err
}

// line returns a record as a line of an import.
func (c *CSV) line(record []byte) ([]byte, error) {
	cells, err := c.cells(record)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLine, err)
	}
	if len(cells) != len(c.Header) {
		return nil, fmt.Errorf("%w: it has %d cells, and the header has %d", errLine, len(cells), len(c.Header))
	}
	var line struct {
		Key     string          `json:"key"`
		Version string          `json:"version"`
		Op      string          `json:"op,omitempty"`
		Payload json.RawMessage `json:"payload,omitempty"`
	}
	payload := []byte{'{'}
	for i, name := range c.Header {
		cell := cells[i]
		switch name {
		case c.Key:
			line.Key = cell
			continue
		case c.Version:
			line.Version = cell
			continue
		case c.Op:
			line.Op = cell
			continue
		}
		value, err := c.value(name, cell)
		if err != nil {
			return nil, err
		}
		if len(payload) > 1 {
			payload = append(payload, ',')
		}
		payload = append(append(append(payload, text(name)...), ':'), value...)
	}
	if line.Op != "delete" {
		line.Payload = append(payload, '}')
	}
	return json.Marshal(line)
}

func (c *CSV) value(name, cell string) ([]byte, error) {
	switch {
	case !slices.Contains(c.JSON, name):
		return text(cell), nil
	case cell == "":
		return []byte("null"), nil
	case !json.Valid([]byte(cell)):
		return nil, fmt.Errorf("%w: column %q is not JSON", errLine, name)
	default:
		return []byte(cell), nil
	}
}

// text returns a JSON string.
func text(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string is always encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
