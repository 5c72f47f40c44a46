package contents_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/contents"
)

const room = 1000

// side returns a side that people may see; nothing for "".
func side(document string) contents.Side {
	if document == "" {
		return contents.Side{}
	}
	return contents.Side{Full: json.RawMessage(document), Shown: json.RawMessage(document)}
}

func whole(ours, theirs string) []contents.Part {
	return []contents.Part{{Ours: side(ours), Theirs: side(theirs)}}
}

// lines writes fields in one line each, for comparison.
func lines(d contents.Diff) (out []string) {
	for _, f := range d.Fields {
		line := f.Path + " " + string(f.Difference)
		if f.Difference == contents.Hidden {
			line += fmt.Sprintf(" %v", *f.Equal)
		} else {
			line += fmt.Sprintf(" %s|%s", f.Ours, f.Theirs)
		}
		if f.Clipped {
			line += " clipped"
		}
		out = append(out, line)
	}
	return out
}

func TestCompare(t *testing.T) {
	for name, c := range map[string]struct {
		ours, theirs string
		want         []string
		differing    int
	}{
		"nothing on both sides": {"", "", nil, 0},
		"equal texts":           {`"a"`, `"a"`, []string{`. equal "a"|"a"`}, 0},
		"other texts":           {`"a"`, `"b"`, []string{`. changed "a"|"b"`}, 1},
		"fields": {
			`{"same":1,"other":1,"mine":1}`, `{"theirs":null,"other":2,"same":1}`,
			[]string{`.mine only_ours 1|`, `.other changed 1|2`, `.theirs only_there |null`, `.same equal 1|1`},
			3,
		},
		"odd names": {
			`{"a b":1,"":1,"1":1,"é":1}`, `{}`,
			[]string{`."" only_ours 1|`, `."1" only_ours 1|`, `."a b" only_ours 1|`, `."é" only_ours 1|`},
			4,
		},
		"null is there":           {`{"a":null}`, `{}`, []string{`.a only_ours null|`}, 1},
		"another type":            {`{"a":"1"}`, `{"a":1}`, []string{`.a changed "1"|1`}, 1},
		"an object, and a text":   {`{"a":{"b":1}}`, `{"a":"b"}`, []string{`.a changed {"b":1}|"b"`}, 1},
		"an object, and an array": {`{"a":{}}`, `{"a":[]}`, []string{`.a changed {}|[]`}, 1},
		"nothing there":           {`{"a":{"b":1}}`, "", []string{`.a.b only_ours 1|`}, 1},
		"nothing of ours":         {"", `[1,[2]]`, []string{`[0] only_there |1`, `[1][0] only_there |2`}, 2},
		"empty containers":        {`{"a":{},"b":[]}`, `{"a":{},"b":[]}`, []string{`.a equal {}|{}`, `.b equal []|[]`}, 0},
		"arrays go by place": {
			`{"l":[1,2,3]}`, `{"l":[1,3]}`,
			[]string{`.l[1] changed 2|3`, `.l[2] only_ours 3|`, `.l[0] equal 1|1`},
			2,
		},
		"objects in arrays": {`[{"a":1},{"a":2}]`, `[{"a":1},{"b":2}]`, []string{`[1].a only_ours 2|`, `[1].b only_there |2`, `[0].a equal 1|1`}, 2},
		"no JSON there":     {`{"a":1}`, `<a/>`, []string{`. hidden false`}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := contents.Compare(whole(c.ours, c.theirs), room, false)
			if !slices.Equal(lines(got), c.want) || got.Differing != c.differing || got.More != 0 {
				t.Errorf("%q, %d differ, %d more; want %q, %d", lines(got), got.Differing, got.More, c.want, c.differing)
			}
		})
	}
}

// Numbers are what their digits say: no float comes between.
func TestNumbersAreCompared(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"1", "1.0", true},
		{"1.50", "1.5", true},
		{"100", "1", false},
		{"0", "-0", true},
		{"-0.00", "0", true},
		{"9007199254740993", "9007199254740992", false}, // one float
		{"0.1", "0.10000000000000001", false},           // one float
		{"1e400", "1e401", false},                       // both beyond floats
		{"12345678901234567890.10", "12345678901234567890.1", true},
		{"1", `"1"`, false},
	} {
		got := contents.Compare(whole(c.a, c.b), room, false)
		if f := got.Fields[0]; (f.Difference == contents.Equal) != c.same || string(f.Ours) != c.a || string(f.Theirs) != c.b {
			t.Errorf("%s and %s: %q", c.a, c.b, lines(got))
		}
	}
}

// A part whose connector says that it differs does, also where no field shows it.
func TestPartDiffers(t *testing.T) {
	parts := []contents.Part{
		{Name: "name", Ours: side(`"a"`), Theirs: side(`"a"`), Differs: true},
		{Name: "a b", Ours: side(`{"x":1}`), Theirs: side(`{"x":1}`)},
		{Name: "seen", Ours: side(`1`), Theirs: side(`2`), Differs: true},
		{Name: "away", Differs: true},
	}
	got := contents.Compare(parts, room, false)
	want := []string{`.name changed "a"|"a"`, `.seen changed 1|2`, `.name equal "a"|"a"`, `."a b".x equal 1|1`}
	if !slices.Equal(lines(got), want) || got.Differing != 2 {
		t.Errorf("%q, %d differ", lines(got), got.Differing)
	}
}

// What nobody would send is no difference.
func TestIgnored(t *testing.T) {
	got := contents.Compare(whole("", `{"a":1}`), room, true)
	if want := []string{`.a ignored |1`}; !slices.Equal(lines(got), want) || got.Differing != 0 {
		t.Errorf("%q, %d differ", lines(got), got.Differing)
	}
}

// Of what is hidden people learn whether it is the same, and no value.
func TestHiddenFields(t *testing.T) {
	paths := []string{".ssn", ".list.pin"}
	hide := func(document string) contents.Side {
		return contents.Side{Full: json.RawMessage(document), Shown: contents.Redact("", json.RawMessage(document), paths)}
	}
	ours, theirs := hide(`{"ssn":"canary-1","a":1,"list":[{"pin":"canary-2"},{"pin":"canary-3"}]}`), hide(`{"ssn":{"no":"canary-4"},"a":1,"list":[{"pin":"canary-2"}]}`)
	got := contents.Compare([]contents.Part{{Ours: ours, Theirs: theirs, Differs: true}}, room, false)
	want := []string{`.list[1].pin hidden false`, `.ssn hidden false`, `.a equal 1|1`, `.list[0].pin hidden true`}
	if !slices.Equal(lines(got), want) || got.Differing != 2 {
		t.Errorf("%q, %d differ", lines(got), got.Differing)
	}
	// A part with a name is a field of that name; one without fields may hold anything.
	if shown := contents.Redact("ssn", json.RawMessage(`"canary"`), paths); strings.Contains(string(shown), "canary") {
		t.Errorf("the column is shown: %s", shown)
	}
	if shown := contents.Redact("", json.RawMessage(`"canary"`), paths); shown != nil {
		t.Errorf("the text is shown: %s", shown)
	}
	got = contents.Compare([]contents.Part{{Ours: contents.Side{Full: json.RawMessage(`"canary"`)}, Theirs: side(`{"a":1}`)}}, room, false)
	if want := []string{`. hidden false`}; !slices.Equal(lines(got), want) {
		t.Errorf("%q", lines(got))
	}
}

// However much differs, what is told of it has an end: fields, values and paths.
func TestDiffIsBounded(t *testing.T) {
	var ours, theirs strings.Builder
	const fields = 1000
	for i := range fields {
		fmt.Fprintf(&ours, `,"f%04d":%d`, i, i)
		fmt.Fprintf(&theirs, `,"f%04d":%d`, i, i+i%2)
	}
	got := contents.Compare(whole(`{`+ours.String()[1:]+`}`, `{`+theirs.String()[1:]+`}`), room, false)
	if len(got.Fields) != contents.MostFields || got.More != fields-contents.MostFields || got.Differing != fields/2 {
		t.Errorf("%d fields, %d more, %d differ", len(got.Fields), got.More, got.Differing)
	}
	for _, f := range got.Fields {
		if f.Difference != contents.Changed {
			t.Fatalf("%s is %s: those that differ come first", f.Path, f.Difference)
		}
	}
	long := strings.Repeat("x", 10*room)
	got = contents.Compare(whole(`{"`+long+`":"`+long+`"}`, `{"`+long+`":[`+strings.Repeat("1,", 10*room)+`1]}`), room, false)
	f := got.Fields[0]
	if !f.Clipped || len(f.Ours) > room || string(f.Theirs) != `"`+mark+`"` || len(f.Path) > 512 {
		t.Errorf("%d bytes of ours, %s of theirs, a path of %d bytes, clipped %v", len(f.Ours), f.Theirs, len(f.Path), f.Clipped)
	}
}

// A target may hold what is as deep as JSON goes, with names as long as it likes: looking at
// it takes memory in proportion to its size.
func TestDepthCostsNoMoreThanSize(t *testing.T) {
	const depth, name = 9000, 400
	field := `{"` + strings.Repeat("n", name) + `":`
	document := strings.Repeat(field, depth) + `1` + strings.Repeat("}", depth)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := contents.Compare(whole(document, strings.Replace(document, "1", "2", 1)), room, false)
	runtime.ReadMemStats(&after)
	if got.Differing != 1 || len(got.Fields) != 1 || len(got.Fields[0].Path) > 512 {
		t.Errorf("%d differ, %.600q", got.Differing, lines(got))
	}
	if took, most := after.TotalAlloc-before.TotalAlloc, uint64(40*len(document)); took > most {
		t.Errorf("it took %d MiB for documents of %d MiB", took>>20, len(document)>>20)
	}
	// Deeper than any reader of JSON goes it is a text that nobody sees.
	beyond := strings.Repeat("[", 20000) + strings.Repeat("]", 20000)
	got = contents.Compare(whole(beyond, beyond), room, false)
	if want := []string{`. hidden true`}; !slices.Equal(lines(got), want) {
		t.Errorf("%.600q", lines(got))
	}
}
