package jq

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
)

func run(t testing.TB, expression, input string, most int) ([]string, error) {
	t.Helper()
	p, err := Compile(expression, "$key")
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	document, err := Decode([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	values, err := p.Run(t.Context(), most, document, "the key")
	out := make([]string, len(values))
	for i, v := range values {
		data, err := Encode(v)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = string(data)
	}
	return out, err
}

// The guards change nothing of what an expression means.
func TestExpressionsMeanWhatTheyMeanInJQ(t *testing.T) {
	const input = `{"a":{"b":[1,2,3]},"n":9007199254740993,"d":12345678901234567.250,"s":"x y","i":1,"l":[{"k":"a","v":1},{"k":"b","v":2}]}`
	for expression, want := range map[string]string{
		`.`:                                          `{"a":{"b":[1,2,3]},"d":12345678901234567.250,"i":1,"l":[{"k":"a","v":1},{"k":"b","v":2}],"n":9007199254740993,"s":"x y"}`,
		`.n, .d`:                                     `9007199254740993 12345678901234567.250`,
		`.n + 1`:                                     `9007199254740994`,
		`[(1, 2) + (10, 20)]`:                        `[11,12,21,22]`,
		`[(2, 3) * (10, 20)]`:                        `[20,30,40,60]`,
		`.a.b | map(. * 2) | add`:                    `12`,
		`.a.b[.i + 1]`:                               `3`,
		`.a.b[.i + 1] = 9 | .a.b`:                    `[1,2,9]`,
		`.a.b[0] += 10 | .a.b`:                       `[11,2,3]`,
		`.a.b[] *= 2 | .a.b`:                         `[2,4,6]`,
		`.i += .n | .i`:                              `9007199254740994`,
		`.a.b[] -= 1 | .a.b`:                         `[0,1,2]`,
		`del(.a.b | first) | .a.b`:                   `[2,3]`,
		`del(.l[] | select(.k == "a")) | .l`:         `[{"k":"b","v":2}]`,
		`(.a | getpath(["b", 1])) = 7 | .a.b`:        `[1,7,3]`,
		`[paths(type == "number")] | length`:         `8`,
		`pick(.a.b[1])`:                              `{"a":{"b":[null,2]}}`,
		`path(.a | first(.b[]))`:                     `["a","b",0]`,
		`.l | map({(.k): .v}) | add`:                 `{"a":1,"b":2}`,
		`.a | with_entries(.key |= "x" + .)`:         `{"xb":[1,2,3]}`,
		`"\(.s)-\(.i + 1)"`:                          `"x y-2"`,
		`@base64 "\(.s)"`:                            `"eCB5"`,
		`.s | @uri`:                                  `"x%20y"`,
		`.s | gsub(" "; "_")`:                        `"x_y"`,
		`[.s | splits(" ")] | join("+")`:             `"x+y"`,
		`.s | split(" "; null)`:                      `["x","y"]`,
		`$key`:                                       `"the key"`,
		`def f(x): x + 1; f(.i)`:                     `2`,
		`def add: "mine"; add`:                       `"mine"`,
		`reduce .a.b[] as $x (0; . + $x)`:            `6`,
		`[foreach .a.b[] as $x (0; . + $x; . * 2)]`:  `[2,6,12]`,
		`.x // "none"`:                               `"none"`,
		`try error("x") catch .`:                     `"x"`,
		`if .i == 1 then {y: .i} else empty end`:     `{"y":1}`,
		`[limit(3; repeat(1))]`:                      `[1,1,1]`,
		`first(.a.b[] | select(. > 1))`:              `2`,
		`. as {a: {$b}} | $b`:                        `[1,2,3]`,
		`[.l[].v] | [first, last, length, min, max]`: `[1,2,2,1,2]`,
		`.a.b as [$x, $y] | {$x, "k\($y)": 1 + 1}`:   `{"k2":2,"x":1}`,
		`$ENV, env`:                                  `{} {}`,
		`"ab" * 3, "ab" * 0.5, null + 1, 1 + null`:   `"ababab" "" 1 1`,
		`{a: {b: 1}} * {a: {c: 2}}`:                  `{"a":{"b":1,"c":2}}`,
	} {
		got, err := run(t, expression, input, 10)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %s, %v; want %s", expression, strings.Join(got, " "), err, want)
		}
	}
}

func TestNothingButTheInputIsSeen(t *testing.T) {
	t.Setenv("CANARY", "canary")
	if got, err := run(t, `[$ENV, env] | tojson`, `1`, 1); err != nil || strings.Contains(got[0], "canary") {
		t.Errorf("the environment: %v, %v", got, err)
	}
	for _, expression := range []string{
		`input`, `inputs`, `import "a" as a; .`, `include "a"; .`, `modulemeta`, `debug`, `stderr`, `input_filename`, `$__prog_args`, `get_search_list`,
		`$__meter`, `. as $__left | 1`, `. as {$__right} | 1`, `def __fits: 1; .`, `def f($__meter): 1; .`, `__add(1; 2; 3)`, `.[`, ``, `nosuch`, strings.Repeat(" ", MaxExpression) + ".",
	} {
		p, err := Compile(expression)
		if err == nil {
			_, err = p.Run(t.Context(), 1, "x")
		}
		if err == nil {
			t.Errorf("%.40s is allowed", expression)
		}
	}
}

// Every one of these would take all memory there is, or never end.
func TestBoundsHold(t *testing.T) {
	var before, after runtime.MemStats
	for _, expression := range []string{
		`[range(1e12)]`,
		`"x" * 1e10`,
		`"x" * 2e9`,
		`1e10 * "x"`,
		`[range(1000) | "x" * 1e7]`,
		`reduce range(60) as $i ("x"; . + .)`,
		`reduce range(60) as $i ({a: "x"}; .a += .a)`,
		`reduce range(60) as $i ("x"; "\(.)\(.)")`,
		`reduce range(60) as $i ([1]; . + .)`,
		`reduce range(60) as $i (1; [., .]) | tojson`,
		`reduce range(60) as $i (1; {a: ., b: .}) | tostring`,
		`reduce range(60) as $i (1; [., .]) | flatten`,
		`reduce range(60) as $i (1; [., .]) | . == .`,
		`reduce range(60) as $i ([1]; . as $d | [1, 1] | map($d))`,
		`reduce range(60) as $i (7; . * .)`,
		`reduce range(60) as $i ({}; .a = . | .b = .a)`,
		`def f: 1 + f; f`,
		`def f: f; f`,
		`[repeat(1)]`,
		`last(range(1e18))`,
		`[limit(1e9; repeat("x"))]`,
		`[range(1e5)] | join("x" * 1e6)`,
		`[range(300000)] | map("x") | add | [match(""; "g")]`,
		`[range(30)] | [combinations(30)]`,
		`.[1e8] = 1`, `setpath([1e8]; 1)`, `.[null + 1e8] |= 1`,
		`[[range(3000)] | combinations(2)]`,
		`reduce range(1e6) as $i ([]; [.])`,
		`until(false; .)`,
		`.. |= [., .] | recurse([., .])`,
	} {
		runtime.ReadMemStats(&before)
		_, err := run(t, "("+expression+") | length", "null", 1e6)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrBounds) && !errors.Is(err, ErrCostly) {
			t.Errorf("%s: %v", expression, err)
		}
		if grown := int64(after.Sys) - int64(before.Sys); grown > 1<<30 {
			t.Errorf("%s: the process has grown by %d MiB", expression, grown>>20)
		}
	}
}

func TestCancelled(t *testing.T) {
	p, err := Compile(`last(range(1e18))`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Run(ctx, 1, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("the context was cancelled, but: %v", err)
	}
}

// A message says what is wrong, and shows nothing of the input.
func TestErrorsShowNoValues(t *testing.T) {
	for expression, says := range map[string]string{
		`.s.x`: "expected an object", `.s[]`: "cannot iterate over: string", `.s + 1`: "cannot add", `.s | tonumber`: "", `.o | keys | .[0] | tonumber`: "",
		`error(.s)`: "by error", `error`: "by error", `.s | test("[" + .)`: "", `.s | fromjson`: "", `{(.o): 1}`: "", `.s | strptime("%Y")`: "", `.s - 1`: "",
		`.s | ltrimstr(1) | implode`: "", `[.s] | implode`: "", `.s | @base64d`: "", `.o | has(1)`: "", `.s | splits(1)`: "", `.o as [$a] | $a`: "",
		`getpath(["s", "x"])`: "", `.o | min_by(.x)`: "", `.s | halt_error`: "by error", `setpath([.s]; 1) | .[0]`: "", `label $f | .s | .[0]`: "", `.s * {}`: "", `.s % 2`: "",
		`[.s] | join({})`: "", `.o | tojson | fromjson | .[0]`: "", `.s | todate`: "", `format(.s)`: "", `.s | ascii`: "", `[.s, .o] | add`: "",
	} {
		p, err := Compile(expression)
		if err != nil {
			continue // a function that gojq does not have
		}
		document, err := Decode([]byte(`{"s":"canary","o":{"canary":"canary"}}`))
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Run(t.Context(), 10, document)
		if err == nil {
			continue
		}
		if strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", expression, err)
		}
	}
}

func TestDecode(t *testing.T) {
	for _, text := range []string{``, `{`, `1 2`, `{"a":1}]`, strings.Repeat("[", 20_000), `"` + strings.Repeat("x", MaxInput) + `"`} {
		if _, err := Decode([]byte(text)); !errors.Is(err, ErrInput) {
			t.Errorf("%.20s: %v", text, err)
		}
	}
}

// Whatever the expression and the input, a run ends, with a value or an error of
// this package.
func FuzzRun(f *testing.F) {
	f.Add(`.a + "x" * 3`, `{"a":"b"}`)
	f.Add(`reduce .[] as $x ([]; . + [$x])`, `[1,2]`)
	f.Add(`.a += 1 | del(.b) | "\(.)" | @base64`, `{}`)
	f.Add(`def f($x): $x; f(1; 2)`, `1`)
	f.Fuzz(func(t *testing.T, expression, input string) {
		p, err := Compile(expression)
		if err != nil {
			return
		}
		document, err := Decode([]byte(input))
		if err != nil {
			return
		}
		values, err := p.Run(t.Context(), 2, document)
		if err != nil {
			if !errors.Is(err, ErrFails) && !errors.Is(err, ErrBounds) && !errors.Is(err, ErrCostly) {
				t.Errorf("%q: %v", expression, err)
			}
			return
		}
		for _, v := range values {
			if _, err := Encode(v); err != nil && !errors.Is(err, ErrFails) {
				t.Errorf("%q: %v", expression, err)
			}
		}
	})
}
