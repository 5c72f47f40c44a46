package operate

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/events"
)

func columns() *CSV {
	return &CSV{Key: "id", Version: "rev", Op: "op", JSON: []string{"n"}, Separator: ';'}
}

// TestCSV reads a whole file: what becomes of each record, and where it ends.
func TestCSV(t *testing.T) {
	const header = "\ufeffid;title;rev;n;op\r\n"
	in := bufio.NewReader(strings.NewReader(header +
		"a;\"two \"\"quoted\"\"\r\nlines; and more\";7;1.50;\r\n" +
		"b;;2024-05-01T12:00:00Z;;upsert\n" +
		"\n" +
		"c;x;3;1;delete\n" +
		"d;x;3\n" +
		"e;x;3;nan;\n" +
		"f;a\"b;3;1;\n" + // a stray quote is its own record's fault
		"g;x;4;1;\n" +
		"h;\"never closed;3;1;\n" +
		"i;x;3;1;\n"))
	c := columns()
	size, lines, err := c.ReadHeader(in)
	if err != nil || size != int64(len(header)) || lines != 1 {
		t.Fatalf("header: %d bytes, %d lines, %v", size, lines, err)
	}
	r := lineReader{in: in, most: MaxImportLine, csv: c, offset: size, number: lines}
	for _, want := range []struct {
		number        int64
		key, v, p, no string
	}{
		{3, "a", "7", `{"title":"two \"quoted\"\r\nlines; and more","n":1.50}`, ""},
		{4, "b", "2024-05-01T12:00:00Z", `{"title":"","n":null}`, ""},
		{5, "", "", "", "empty"},
		{6, "c", "3", "", ""},
		{7, "", "", "", "it has 3 cells, and the header has 5"},
		{8, "", "", "", `column "n" is not JSON`},
		{9, "", "", "", "column"},
		{10, "g", "4", `{"title":"x","n":1}`, ""},
		{12, "", "", "", "column"},
	} {
		record, long, err := r.next()
		if err != nil || long || r.number != want.number {
			t.Fatalf("line %d, want %d: long %t, %v", r.number, want.number, long, err)
		}
		if len(record) == 0 {
			continue
		}
		line, err := c.line(record)
		if want.no != "" {
			if err == nil || !strings.Contains(err.Error(), want.no) {
				t.Errorf("line %d: %v, want %s", want.number, err, want.no)
			}
			continue
		}
		u, _, err := decodeImportLine(events.DefaultNames(), events.ToChannel("c"), line)
		// encoding/csv takes the end of a line in quotes for \n.
		if p := strings.ReplaceAll(want.p, `\r\n`, `\n`); err != nil || u.Key != want.key || u.Version.String() != want.v || string(u.Payload) != p {
			t.Errorf("line %d: %v %s, %v; want %+v", want.number, u, u.Payload, err, want)
		}
	}
	if _, _, err := r.next(); !errors.Is(err, io.EOF) {
		t.Errorf("there is more: %v", err)
	}
}

func TestCSVHeaders(t *testing.T) {
	for header, says := range map[string]string{
		"":                       "empty",
		"id;rev;op\n":            `no column "n"; there are id, rev, op`,
		"id;rev;op;n;rev\n":      `"rev" is there twice`,
		"id;rev;op;n;\n":         "column 5 has no name",
		"id;rev;op;n;\"x\n":      "first line",
		"id;rev;op;n;\xff\n":     "UTF-8",
		"key,version,op,n\n":     `no column "id"`,
		"id;rev;op;n;\"a\"b\"\n": "first line",
	} {
		if _, _, err := columns().ReadHeader(bufio.NewReader(strings.NewReader(header))); !errors.Is(err, ErrCSV) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %s", header, err, says)
		}
	}
	c := columns()
	c.Op = ""
	if _, _, err := c.ReadHeader(bufio.NewReader(strings.NewReader("id;rev;n"))); err != nil {
		t.Errorf("without a column for op: %v", err)
	}
}

// FuzzCSV: whatever a file holds, its records end where its bytes do, and become updates or
// errors.
func FuzzCSV(f *testing.F) {
	f.Add([]byte("id;title;rev;n;op\na;b;7;1;\n"))
	f.Add([]byte("id;rev;n;op\n\"a\n\";7;{};delete\n\"\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bufio.NewReader(strings.NewReader(string(data)))
		c := columns()
		size, lines, err := c.ReadHeader(in)
		if err != nil {
			return
		}
		r := lineReader{in: in, most: 64, csv: c, offset: size, number: lines}
		for {
			record, long, err := r.next()
			if err != nil {
				break
			}
			if long && len(record) != 64 || len(record) > 64 {
				t.Fatalf("a record of %d bytes", len(record))
			}
			if line, err := c.line(record); err == nil {
				_, _, _ = decodeImportLine(events.DefaultNames(), events.ToChannel("c"), line) // an error is an answer
			}
		}
		if r.offset != int64(len(data)) {
			t.Errorf("%d bytes were read of %d", r.offset, len(data))
		}
	})
}
