package jq

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/itchyny/gojq"
)

// sameAs are expressions that the bounder changes, for inputs of every kind.
func sameAs() (expressions, inputs []string) {
	for _, re := range []string{`"a"`, `"a*"`, `""`, `"(?<x>a)|b"`, `"(a)(c)?"`, `"^a|b$"`, `"\\bb"`, `"."`, `"[^a]"`, `"a|aa"`, `"(?<x>a)(?<y>z)?"`, `"ö"`, `["A", "gi"]`, `("a", "b")`, `1`, `"("`} {
		for _, function := range []string{"test", "match", "capture", "scan", "splits"} {
			expressions = append(expressions, fmt.Sprintf(`[%s(%s)]`, function, re))
		}
		for _, flags := range []string{`null`, `"g"`, `"i"`, `"gim"`, `"x"`, `1`} {
			for _, function := range []string{"test", "match", "capture", "scan", "splits", "split"} {
				expressions = append(expressions, fmt.Sprintf(`[%s(%s; %s)]`, function, re, flags))
			}
			expressions = append(expressions, fmt.Sprintf(`[sub(%s; "<\(.)>"; %s)]`, re, flags), fmt.Sprintf(`[gsub(%s; .x // "-"; %s)]`, re, flags))
		}
		for _, by := range []string{`"x"`, `("x", "y")`, `empty`, `null`, `1`, `"\(.x // "n")!"`, `if .x then ("p", "q") else "r" end`, `gsub("n"; "m")`} {
			expressions = append(expressions, fmt.Sprintf(`[sub(%s; %s)]`, re, by), fmt.Sprintf(`[gsub(%s; %s)]`, re, by))
		}
	}
	expressions = append(expressions,
		`explode`, `explode|implode`, `split("a")`, `split("")`, `split(1)`, `[split("a", "b")]`, `. / "a"`, `. / ""`, `. / 2`, `2 / .`, `. - "a"`, `. - [1, "b"]`, `. - 1`,
		`.[1] -= 1`, `.[0] /= "a"`, `tonumber`, `fromjson`, `tojson|fromjson`, `transpose`, `contains("a")`, `contains([1])`, `inside("xaabax")`, `contains({})`, `indices("a")`,
		`indices("")`, `index("a")`, `rindex("a")`, `indices(1)`, `indices([1, 2])`, `index(1)`, `rindex([2])`, `.[[1]]`, `.[(0, 1)]`, `.[1]?`, `.[.[0]]?`, `[.[(0, 1):]]`, `.[100]`, `.a[12].b`,
		`.a[.b]`, `.a[12] = 1`, `.[20] = 1`, `.[-1] = 9`, `.[.a?] = 1`, `(.a, .b) |= [.]`, `.. |= .`, `del(.[0], .[1])`, `delpaths([[0], ["a"]])`, `getpath(["a", 0])`,
		`setpath(["a"]; 1)`, `setpath([2]; 1)`, `setpath([[1]]; 1)`, `path(.a[12])`, `[paths]`, `pick(.a)`, `pick(.[11])`, `sort_by(.)`, `sort_by(.a?, .b?)`, `group_by(.)`, `unique_by(length)`,
		`min_by(.)`, `max_by(.a?)`, `add(.[]?)`, `add(.[] | (., 1))`, `walk(if type == "number" then . + 1 else . end)`, `strptime("%Y-%m-%d")`, `strftime("%Y")`, `gmtime|todate`,
		`[tostream]`, `fromstream(tostream)`, `[truncate_stream(1; tostream)]?`, `"\(.) \(.) \(.)\("x") \(1, 2)"`, `@base64 "\(.)-\(.)-\(.)"`, `@json "\(.)\(.)\(.)\(.)"`, `{"a\(.)b\(.)c\(.)": 1}`,
		`def test(x): "mine"; test("a")`, `def f: def gsub(a; b): 1; gsub("a"; "b"); f`, `(def split(x): 7; split("")) , (try split("") catch 8)`, `def f($x): x; f(3)`,
		`try ("a" | tonumber) catch 1`, `[.[]? | tostring] | join(",")`, `join("a", "b")`, `ascii_downcase`, `.[0] as $x | [$x, .[1]]`, `if .a then .a[10] else 0 end`,
	)
	return expressions, []string{
		`null`, `1`, `""`, `"a"`, `"aab"`, `"baaacb aöa"`, `"xyz"`, `"ab\nAB"`, `"2024-05-06"`, `"[1,{\"a\":2}]"`, `"12"`, `[]`, `[1,2,1,2]`, `["a","b","ab"]`, `[[1,2],[3]]`,
		`{"a":[1,2],"b":1}`, `[{"a":2,"b":1},{"a":1}]`, `{}`, `[2,0]`, `1700000000`,
	}
}

// What is put into an expression changes nothing of what it gives.
func TestBoundsChangeNoResult(t *testing.T) {
	expressions, inputs := sameAs()
	given := 0
	for _, expression := range expressions {
		query, err := gojq.Parse(expression)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		plain, err := gojq.Compile(query)
		bounded, err2 := Compile(expression)
		if err != nil || err2 != nil {
			if (err == nil) != (err2 == nil) {
				t.Errorf("%s: %v, without bounds %v", expression, err2, err)
			}
			continue
		}
		for _, input := range inputs {
			document, err := Decode([]byte(input))
			if err != nil {
				t.Fatal(err)
			}
			want, failed := outputs(t, plain.RunWithContext(t.Context(), document))
			values, err := bounded.Run(t.Context(), 1000, document)
			got, _ := outputs(t, gojq.NewIter(values...))
			if (err != nil) != failed || !failed && !slices.Equal(got, want) {
				t.Errorf("%s of %s: %v, %v; without bounds %v, failed: %v", expression, input, got, err, want, failed)
			}
			if !failed {
				given++
			}
		}
	}
	if given < 1000 {
		t.Errorf("only %d gave a result", given)
	}
}

// Regular expressions are searched for here, not by gojq.
func FuzzRegexpsFindWhatGojqFinds(f *testing.F) {
	f.Add("a*", "g", "baaac")
	f.Add("(?<x>a)|(b)?", "gi", "AB ab\xff")
	f.Add("\\b|^", "gm", "ö x\ny")
	const all = `[[match($re; $flags)], [capture($re; $flags)], [scan($re; $flags)], test($re; $flags), split($re; $flags), [sub($re; "<\(.x)>"; $flags)], [gsub($re; "a", .x; $flags)]]`
	bounded, err := Compile(all, "$re", "$flags")
	if err != nil {
		f.Fatal(err)
	}
	query, err := gojq.Parse(all)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, re, flags, text string) {
		plain, err := gojq.Compile(query, gojq.WithVariables([]string{"$re", "$flags"})) // it keeps each regular expression
		if err != nil {
			t.Fatal(err)
		}
		if len(text) > 200 || len(re) > 50 {
			return
		}
		want, failed := outputs(t, plain.RunWithContext(t.Context(), text, re, flags))
		values, err := bounded.Run(t.Context(), 1, text, re, flags)
		if errors.Is(err, ErrBounds) {
			return
		}
		got, _ := outputs(t, gojq.NewIter(values...))
		if (err != nil) != failed || !failed && !slices.Equal(got, want) {
			t.Errorf("%q %q of %q: %v, %v; gojq: %v, failed: %v", re, flags, text, got, err, want, failed)
		}
	})
}

func outputs(t *testing.T, iter gojq.Iter) (texts []string, failed bool) {
	t.Helper()
	for {
		value, ok := iter.Next()
		if !ok {
			return texts, false
		}
		if _, is := value.(error); is {
			return texts, true
		}
		data, err := Encode(value)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(data))
	}
}

// Every function of gojq is in one list: what a later one adds is not called
// before somebody has read it.
func TestEveryFunctionIsInOneList(t *testing.T) {
	code, err := gojq.Compile(mustParse(t, `builtins`))
	if err != nil {
		t.Fatal(err)
	}
	names, _ := code.Run(nil).Next()
	lists := map[string]map[string]bool{"bounded": setOf(bounded), "making": setOf(making), "guarded": setOf(guarded), "refused": setOf(refused)}
	all := map[string]bool{}
	for _, name := range names.([]any) {
		all[name.(string)] = true
		in := 0
		for _, list := range lists {
			if list[name.(string)] {
				in++
			}
		}
		if in != 1 {
			t.Errorf("%s is in %d lists", name, in)
		}
	}
	for _, list := range lists {
		for name := range list {
			if short, _, _ := strings.Cut(name, "/"); !all[name] && short != "empty" && short != "env" {
				t.Errorf("gojq has no %s", name)
			}
		}
	}
}

func mustParse(t *testing.T, expression string) *gojq.Query {
	t.Helper()
	query, err := gojq.Parse(expression)
	if err != nil {
		t.Fatal(err)
	}
	return query
}
