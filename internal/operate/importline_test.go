package operate

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestDecodeImportLine(t *testing.T) {
	tests := map[string]struct {
		line string
		ok   bool
	}{
		"number":            {`{"key":"a","version":7,"payload":{"a":1}}`, true},
		"text":              {`{"key":"a","version":"7","payload":"x"}`, true},
		"time":              {`{"key":"a","version":"2024-05-01T12:00:00Z","payload":[null]}`, true},
		"payload null":      {`{"key":"a","version":7,"payload":null}`, false},
		"delete of null":    {`{"key":"a","version":7,"op":"delete","payload":null}`, true},
		"delete":            {`{"key":"a","version":7,"op":"delete"}`, true},
		"base64":            {`{"key":"a","version":7,"payload_base64":"AAE=","content_type":"image/png"}`, true},
		"both payloads":     {`{"key":"a","version":7,"payload":1,"payload_base64":"AAE="}`, false},
		"no payload":        {`{"key":"a","version":7}`, false},
		"no version":        {`{"key":"a","payload":1}`, false},
		"no key":            {`{"version":7,"payload":1}`, false},
		"unknown field":     {`{"key":"a","version":7,"payload":1,"verion":8}`, false},
		"two on a line":     {`{"key":"a","version":7,"payload":1} {}`, false},
		"float version":     {`{"key":"a","version":7.5,"payload":1}`, false},
		"large number":      {`{"key":"a","version":9007199254740993,"payload":1}`, true},
		"array":             {`[1]`, false},
		"key not UTF-8":     {"{\"key\":\"pat-\xff\",\"version\":7,\"payload\":1}", false},
		"key, half a pair":  {`{"key":"pat-\ud800","version":7,"payload":1}`, false},
		"payload not UTF-8": {"{\"key\":\"a\",\"version\":7,\"payload\":\"\xfe\"}", false},
		"base64 not JSON":   {`{"key":"a","version":7,"payload_base64":"/w=="}`, false},
		"any bytes":         {`{"key":"a","version":7,"payload_base64":"/w==","content_type":"text/plain"}`, true},
		"nothing":           {``, false},
		"no such op":        {`{"key":"a","version":7,"op":"drop","payload":1}`, false},
		"version of zero":   {`{"key":"a","version":0,"payload":1}`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u, _, err := decodeImportLine(events.DefaultNames(), events.ToChannel("erp_db"), []byte(tt.line))
			if (err == nil) != tt.ok {
				t.Errorf("readable should be %t, but: %+v, %v", tt.ok, u, err)
			}
			if name == "large number" && u.Version.String() != "9007199254740993" {
				t.Errorf("the version is %s", u.Version)
			}
		})
	}
}

func FuzzDecodeImportLine(f *testing.F) {
	f.Add([]byte(`{"key":"a","version":7,"payload":{"a":1}}`))
	f.Add([]byte(`{"key":"a","version":"2024-05-01T12:00:00Z","op":"delete"}`))
	f.Add([]byte(`{"key":"\u0000","version":7,"payload_base64":"AAE="}`))
	f.Add([]byte("{\"key\":\"a\xff\",\"version\":7,\"payload\":\"\xfe\"}"))
	f.Fuzz(func(t *testing.T, line []byte) {
		u, _, err := decodeImportLine(events.DefaultNames(), events.ToChannel("erp_db"), line)
		if err != nil {
			return
		}
		if !utf8.Valid(line) {
			t.Errorf("%q is taken", line)
		}
		// What is taken can be published.
		if _, err := wire.Encode(events.DefaultNames(), u); err != nil {
			t.Errorf("%q is taken and cannot be sent: %v", line, err)
		}
	})
}

func TestLineReaderBoundsLines(t *testing.T) {
	in := "a\nbb\r\n\n" + strings.Repeat("x", 100) + "\nlast"
	r := lineReader{in: bufio.NewReaderSize(strings.NewReader(in), 16), most: 10}
	type got struct {
		line string
		long bool
	}
	var lines []got
	for {
		line, long, err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, got{string(line), long})
	}
	want := []got{{"a", false}, {"bb", false}, {"", false}, {strings.Repeat("x", 10), true}, {"last", false}}
	if len(lines) != len(want) {
		t.Fatalf("lines %+v", lines)
	}
	for i := range want {
		if lines[i] != want[i] {
			t.Errorf("line %d is %+v, want %+v", i+1, lines[i], want[i])
		}
	}
	if r.offset != int64(len(in)) || r.number != 5 {
		t.Errorf("offset %d, line %d", r.offset, r.number)
	}
}

// A line of a file is read as a line of a batch is: it may say what an update may, and what is
// wrong is said in the same words, all of it.
func TestImportLineSaysAllThatIsWrong(t *testing.T) {
	u, refs, err := decodeImportLine(events.DefaultNames(), events.ToChannel("erp_db"), []byte(`{"key":"a","version":7,"base":6,"id":"i","time":"2024-05-01T12:00:00Z","payload":1,"refs":{"id":"4711"}}`))
	if err != nil || u.Base.String() != "6" || u.ID != "i" || u.Time.IsZero() || refs["id"] != "4711" {
		t.Errorf("%+v, %v, %v", u, refs, err)
	}
	_, _, err = decodeImportLine(events.DefaultNames(), events.ToChannel("erp_db"), []byte(`{"key":"","version":0,"verion":1,"op":"drop","channel":"crm","refs":[],"key":"b"}`))
	for _, want := range []string{"key: ", "key: it is there twice", "version: ", "verion: there is no such field", "op: ", "channel: it is not the channel of the command", "refs: ", "payload: it is empty"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

func BenchmarkDecodeImportLine(b *testing.B) {
	line := []byte(`{"key":"p-2023-vax","version":7,"payload":{"title":"Booster every 6 months","deadline":"2026-06-30","content":"` + strings.Repeat("x", 200) + `"}}`)
	for b.Loop() {
		if _, _, err := decodeImportLine(events.DefaultNames(), events.ToChannel("erp_db"), line); err != nil {
			b.Fatal(err)
		}
	}
}
