package connhttp

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// coded returns a text in content codings, in the order in which they are applied. One
// that is not known leaves it as it is.
func coded(t *testing.T, text []byte, codings ...string) []byte {
	t.Helper()
	for _, coding := range codings {
		var out bytes.Buffer
		var z io.WriteCloser
		switch coding {
		case "gzip", "x-gzip":
			z = gzip.NewWriter(&out)
		case "deflate":
			z = zlib.NewWriter(&out)
		case "raw deflate":
			var err error
			if z, err = flate.NewWriter(&out, flate.BestCompression); err != nil {
				t.Fatal(err)
			}
		default:
			continue
		}
		if _, err := z.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		text = out.Bytes()
	}
	return text
}

// TestCompressedAnswerIsRead: some targets compress without being asked.
func TestCompressedAnswerIsRead(t *testing.T) {
	const why = `{"error":"the field \"owner\" is missing"}`
	for _, c := range []struct {
		name     string
		applied  []string
		header   []string
		readable bool
	}{
		{"gzip", []string{"gzip"}, []string{"gzip"}, true},
		{"x-gzip", []string{"gzip"}, []string{"X-GZip"}, true},
		{"deflate", []string{"deflate"}, []string{"deflate"}, true},
		{"deflate without zlib's frame", []string{"raw deflate"}, []string{"deflate"}, true},
		{"two", []string{"deflate", "gzip"}, []string{"deflate, gzip"}, true},
		{"two headers", []string{"gzip", "gzip"}, []string{"gzip", "gzip"}, true},
		{"identity", nil, []string{"identity"}, true},
		{"an unknown one", nil, []string{"br"}, false},
		{"an unknown one inside", []string{"gzip"}, []string{"br, gzip"}, false},
		{"too many", []string{"gzip", "gzip", "gzip", "gzip", "gzip"}, []string{"gzip,gzip,gzip,gzip,gzip"}, false},
		{"not what it says", nil, []string{"gzip"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := openTo(t, Config{Answers: []Answer{{When: ".body.error", Class: "permanent"}}}, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Encoding"] = c.header
				_, _ = w.Write(coded(t, []byte(why), c.applied...))
			})
			got := applyOne(t, conn)
			if !c.readable {
				wantResult(t, got, connectors.Transient, codeUnread)
				if got.Response != "" {
					t.Errorf("what cannot be read is shown: %q", got.Response)
				}
				return
			}
			wantResult(t, got, connectors.Permanent, "200")
			if got.Response != why {
				t.Errorf("the excerpt is %q", got.Response)
			}
		})
	}
}

// TestBombs: an answer that gets large when it is decompressed is cut.
func TestBombs(t *testing.T) {
	zeros := make([]byte, 8<<20) // some times as much as is read of any answer
	for _, codings := range [][]string{{"gzip"}, {"deflate"}, {"gzip", "gzip"}, {"deflate", "gzip", "gzip"}} {
		bomb := coded(t, zeros, codings...)
		for _, most := range []int{maxBody, maxRuledBody} {
			answer := &http.Response{Header: http.Header{"Content-Encoding": {strings.Join(codings, ", ")}}, Body: io.NopCloser(bytes.NewReader(bomb))}
			body, cut, err := httpkit.ReadBody(answer, most)
			if err != nil || len(body) != most || !cut {
				t.Errorf("%v: %d bytes, cut %v, %v", codings, len(body), cut, err)
			}
		}
	}
}

// FuzzReadBody: no answer, whatever it says of its coding, gives more than was asked for.
func FuzzReadBody(f *testing.F) {
	f.Add("gzip", []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255})
	f.Add("deflate,gzip", []byte("x"))
	f.Add("br", []byte("x"))
	f.Fuzz(func(t *testing.T, coding string, body []byte) {
		answer := &http.Response{Header: http.Header{"Content-Encoding": {coding}}, Body: io.NopCloser(bytes.NewReader(body))}
		if got, _, _ := httpkit.ReadBody(answer, 1000); len(got) > 1000 {
			t.Errorf("%d bytes", len(got))
		}
	})
}
