package plain_test

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":               "",
		"as it, é":       "as it, é",
		"two\r\nlines":   "two  lines",
		"a\x00b\x7fc":    "a b c",
		"half \xff rune": "half   rune",
		"0123456789é":    "0123456789",
		"0123456789abc":  "0123456789a",
	} {
		if got := plain.Text(in, 11); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestMessage(t *testing.T) {
	coded := connectors.Failed(connectors.Permanent, "422", &connectors.Error{Class: connectors.Permanent, Code: "422", Err: errors.New("no such field")})
	if got := plain.Message(coded); got != "no such field" {
		t.Errorf("%q; the code is told beside it", got)
	}
	if got := plain.Message(connectors.Done()); got != "" {
		t.Errorf("%q of a success", got)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\nb", 3)
	f.Add(strings.Repeat("é", 600), events.MaxMessageLen)
	f.Fuzz(func(t *testing.T, s string, most int) {
		most &= 0xffff
		if got := plain.Text(s, most); len(got) > most || !utf8.ValidString(got) || strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("%q of %q in %d bytes", got, s, most)
		}
	})
}
