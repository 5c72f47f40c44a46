package contents_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/contents"
)

const mark = "… (clipped)"

func TestClipText(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		most int
		want string
	}{
		"nothing":                 {"", 20, ""},
		"it fits":                 {"twenty bytes exactly", 20, "twenty bytes exactly"},
		"one byte too long":       {"twenty bytes exactly!", 20, "twenty " + mark},
		"in the middle of a rune": {"sixéééééééé", 17, "six" + mark},
		"between two runes":       {"sixéééééééé", 18, "sixé" + mark},
		"a rune of four bytes":    {strings.Repeat("\U0001F600", 5), 19, "\U0001F600" + mark},
		"no room but for that":    {strings.Repeat("x", 20), len(mark), mark},
		"not even for that":       {strings.Repeat("x", 20), 3, mark},
	} {
		t.Run(name, func(t *testing.T) {
			if got := contents.ClipText(c.text, c.most); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestClip(t *testing.T) {
	long := strings.Repeat("x", 1000)
	cut := func(most int) string { return `"` + long[:most-len(mark)] + mark + `"` }
	nested := func(depth int, inside string) string {
		return strings.Repeat("[", depth) + inside + strings.Repeat("]", depth)
	}
	for name, c := range map[string]struct {
		document string
		room     int
		want     string // "": nothing is left
	}{
		"a text":                    {`"` + long + `"`, 200, cut(100)},
		"the longest of an object":  {`{"b":"` + long + `","a":"short"}`, 200, `{"a":"short","b":` + cut(100) + `}`},
		"those of an array":         {`["` + long + `",["` + long + `"],1]`, 600, `[` + cut(75) + `,[` + cut(75) + `],1]`},
		"digits stay":               {`[12345678901234567890.10, -0.0, 1e400, "` + long + `"]`, 300, `[12345678901234567890.10,-0.0,1e400,` + cut(150) + `]`},
		"markup stays":              {`["<&>","` + long + `"]`, 200, `["<&>",` + cut(100) + `]`},
		"in the middle of a rune":   {`"` + strings.Repeat("é", 500) + `"`, 201, `"` + strings.Repeat("é", 43) + mark + `"`},
		"what takes more escaped":   {`"` + strings.Repeat(`\u0001`, 200) + `"`, 600, `"` + strings.Repeat(`\u0001`, 75-len(mark)) + mark + `"`},
		"far down":                  {nested(5000, `"`+long+`"`), 10500, nested(5000, cut(328))},
		"numbers cannot be clipped": {`[` + strings.Repeat("1,", 500) + `1]`, 200, ""},
		"nor names":                 {`{"` + long + `":1}`, 200, ""},
		"nor depth":                 {nested(5000, "1"), 6000, ""},
		"deeper than anybody reads": {nested(20000, ""), 6000, ""},
		"no document":               {`{"a":` + long, 200, ""},
		"little room":               {`"` + long + `"`, 100, ""},
		"no room":                   {`"` + long + `"`, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, clipped := contents.Clip(json.RawMessage(c.document), c.room)
			if !clipped || string(got) != c.want || (got == nil) != (c.want == "") {
				t.Errorf("%.300s, clipped %v, want %.300s", got, clipped, c.want)
			}
		})
	}
	const whole = `{"b": 1,  "a": 1.0e5}`
	if got, clipped := contents.Clip(json.RawMessage(whole), len(whole)); clipped || string(got) != whole {
		t.Errorf("%s, clipped %v: it has room", got, clipped)
	}
	if got, clipped := contents.Clip(nil, 0); clipped || got != nil {
		t.Errorf("%s, clipped %v: there is nothing", got, clipped)
	}
}
