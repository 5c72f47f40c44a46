package contents_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/hms-utl/extsync/internal/contents"
)

// What is clipped is JSON within its room, and a text is cut between its runes.
func FuzzClip(f *testing.F) {
	for _, seed := range []string{
		`"text"`, `{"a":["é",1.50,-0,1e400,null,true],"a":2}`, `[[[[[]]]]]`, `"\u0000\ud800<&>"`, `{"a":`, "\xff", ``,
	} {
		f.Add(seed, 4)
		f.Add(seed, 300)
	}
	f.Fuzz(func(t *testing.T, text string, room int) {
		room = max(room%(1<<16), 0)
		out, clipped := contents.Clip(json.RawMessage(text), room)
		switch {
		case len(text) <= room && (clipped || string(out) != text):
			t.Errorf("%q was clipped to %q", text, out)
		case len(out) > room:
			t.Errorf("%q takes more than %d bytes", out, room)
		case clipped && out != nil && !json.Valid(out):
			t.Errorf("%q is no JSON", out)
		}
		short := contents.ClipText(text, room)
		if len(short) > max(room, len(mark)) || utf8.ValidString(text) && !utf8.ValidString(short) {
			t.Errorf("%q was cut to %q for %d bytes", text, short, room)
		}
	})
}

// A comparison has an end whatever is compared. A content differs in nothing from itself, and
// what differs does so from both sides.
func FuzzCompare(f *testing.F) {
	seeds := []string{
		`"text"`, `{"a":["é",1.50,-0,1e400,null,true],"a":2}`, `[[[[[]]]]]`, `[{"a":1},{}]`, `{"a":{"b":{}},"":[]}`, `{"a":`, "\xff", `1.0`, ``,
	}
	for _, a := range seeds {
		for _, b := range seeds {
			f.Add(a, b)
		}
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		ab, ba := contents.Compare(whole(a, b), room, false), contents.Compare(whole(b, a), room, false)
		if ab.Differing != ba.Differing || len(ab.Fields) != len(ba.Fields) || ab.More != ba.More {
			t.Errorf("%q and %q: %q, the other way round %q", a, b, lines(ab), lines(ba))
		}
		for _, d := range []contents.Diff{ab, ba} {
			if len(d.Fields) > contents.MostFields || d.Differing > len(d.Fields)+d.More {
				t.Errorf("%d fields, %d more, %d differ", len(d.Fields), d.More, d.Differing)
			}
			for _, field := range d.Fields {
				if len(field.Path) > 512 || len(field.Ours) > room || len(field.Theirs) > room {
					t.Errorf("%+v is too long", field)
				}
			}
			if _, err := json.Marshal(d); err != nil {
				t.Error(err)
			}
		}
		if self := contents.Compare(whole(a, a), room, false); self.Differing != 0 {
			t.Errorf("%q differs from itself: %q", a, lines(self))
		}
	})
}
