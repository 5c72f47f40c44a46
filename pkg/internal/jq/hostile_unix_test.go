//go:build unix

package jq

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hostile are expressions and inputs, each of which took minutes, gigabytes or
// the process without bounds on what one step does.
func hostile() []struct{ expression, input string } {
	text := func(s string, n int) string { return strconv.Quote(strings.Repeat(s, n)) }
	numbers := "[" + strings.Repeat("1,", 200_000) + "1]"
	object := func(value string) string { return `{"t":` + value + `}` }
	million := strings.Repeat("7", 1_000_000)
	list := func(t string, n int) string { return "[" + strings.Repeat(t+",", n-1) + t + "]" }
	return []struct{ expression, input string }{
		// The issue's own.
		{`{t: (.t|gsub(" ";"_"))}`, object(text(" ", 200_000))},
		{`.t | tonumber`, object(strconv.Quote(million))},
		{`.t | inside(.t)`, object(list("[1,2,3]", 30_000))},
		{`.t | split("")`, object(text("x", 6_000_000))},
		// Regular expressions.
		{`.t | [match(" "; "g")] | length`, object(text(" ", 200_000))},
		{`.t | [scan("a.*b|a")] | length`, object(text("a", 200_000))},
		{`.t | test("(a?){500}a{500}")`, object(text("a", 200_000))},
		{`.t | test("((a{30}){30}){30}")`, object(text("a", 1000))},
		{`. as [$re, $t] | $t | test($re)`, "[" + text("(x+x+)+", 5000) + "," + text("x", 100_000) + "]"},
		{`[range(100000) | . as $i | "a" | test("a\($i){900}")] | length`, `1`},
		{`.t | [splits("")] | length`, object(text("x", 1_000_000))},
		{`.t | sub("(?<x>.)"; "\(.x)" * 1e6; "g")`, object(text("x", 1000))},
		{`def gsub: .; .t|gsub(" ";"_")`, object(text(" ", 200_000))},
		// Numbers.
		{`add`, "[" + million + strings.Repeat(",1", 200_000) + "]"},
		{`.[0] * .[0]`, "[" + million + "]"},
		{`reduce range(40) as $i (7; . + .) | [range(1000) as $i | . * $i] | tojson`, `1`},
		{`reduce range(100000) as $i (9223372036854775807; . + .)`, `1`},
		{`[.t | fromjson]`, object(strconv.Quote("[" + million + "]"))},
		{`.t | fromjson | length`, object(strconv.Quote("[" + strings.Repeat("1,", 3_000_000) + "1]"))},
		{`jn(2147483647; 2147483647)`, `1`},
		{`yn(2147483647; 2147483647)`, `1`},
		// Lists that are compared with each other.
		{`. - map(. + 1)`, numbers},
		{`. -= [range(2; 200000)]`, numbers},
		{`indices([range(1000) | 1])`, numbers},
		{`.[[range(1000) | 1]]`, numbers},
		{`getpath([[range(1000) | 1]])`, numbers},
		{`[.[:100000], .[:100000]] | contains([[range(1000)|2]])`, numbers},
		{`. as $big | [range(50000)] | sort_by($big) | length`, numbers},
		{`. as $big | [range(50000)] | group_by($big) | length`, numbers},
		{`. as $big | [range(50000)] | min_by($big)`, numbers},
		{`.t | indices("xx")`, object(text("x", 4_000_000))},
		{`.t | index("x" * 200000 + "y")`, object(text("x", 400_000))},
		// Values that are far larger than what they are made of.
		{`add(range(100000) as $i | .t)`, object(text("x", 1_000_000))},
		{`[range(100000) as $i | .t] | add`, object(text("x", 1_000_000))},
		{`. as $big | (.[], .) |= if type == "number" then $big else tojson end`, numbers},
		{`. as $big | (.[], .) |= if type == "number" then $big else (. == .) end`, numbers},
		{`. as $big | walk(if type == "number" then $big else tojson end)`, numbers},
		{`. as $big | [range(50)] | walk(if type == "number" then $big else (. == .) end)`, numbers},
		{`"` + strings.Repeat(`\(.t)`, 5000) + `"`, object(text("x", 1_000_000))},
		{`[range(300000) | []] | .[0] = [range(300000)] | transpose`, `1`},
		{`.t | explode | length`, object(text("x", 6_000_000))},
		{`.t / ""`, object(text("x", 6_000_000))},
		{`.t /= ""`, object(text("x", 6_000_000))},
		{`strftime("%1024c" * 200000)`, `1700000000`},
		{`[limit(100000; repeat(.t | ascii_upcase))] | length`, object(text("x", 1_000_000))},
		{`[range(100000) as $i | try (.t * 1000000) catch 0] | length`, object(text("x", 1_000_000))},
		{`[range(100000) as $i | .t | tojson] | length`, object(text("\x01", 1_000_000))},
		// Paths.
		{`.` + strings.Repeat(`[999999]`, 2000) + ` = 1`, `null`},
		{`def f(n): if n == 0 then . else .[999999] | f(n - 1) end; f(1000) |= 1`, `null`},
		{`setpath([range(5000) | 1000000]; 1)`, `null`},
		{`setpath([range(400000) | 0]; 1)`, `null`},
		{`fromstream([[range(5000) | 1000000], 1])`, `null`},
		{`delpaths([[range(300000) | 0]])`, `null`},
		{`[paths]`, strings.Repeat("[", 9000) + strings.Repeat("]", 9000)},
		{`[..] | length`, strings.Repeat("[", 9000) + strings.Repeat("]", 9000)},
		// Recursion that keeps what it goes through.
		{`. as $big | def f: $big[] as $x | f; f`, numbers},
		{`. as $big | last(recurse($big[]))`, numbers},
		{`. as $big | def g: $big | map(g); g`, numbers},
		{`[combinations]`, list("[1,2,3,4,5,6,7,8,9]", 30)},
		{`[.[] as $x | .[] as $y | $x + $y] | length`, numbers},
		// What is long to compile.
		{strings.Repeat("1+", 30_000) + "1", `1`},
		{strings.Repeat("(", 20_000) + "1" + strings.Repeat(")", 20_000), `1`},
		{strings.Repeat("def f: ", 5_000) + "1" + strings.Repeat("; f", 5_000), `1`},
		{strings.Repeat(".a|", 20_000) + ".", `1`},
		{strings.Repeat("def f: 1; ", 6_000) + "f", `1`},
		{strings.Repeat("f(f(f(f(", 1_000) + "1" + strings.Repeat("))))", 1_000), `1`},
		{strings.Repeat("[[[[", 4_000) + strings.Repeat("]]]]", 4_000), `1`},
		{strings.Repeat(`"\(`, 5_000) + "1" + strings.Repeat(`)"`, 5_000), `1`},
		// What is large once it is decoded.
		{`length`, "[" + strings.Repeat("[],", 2_600_000) + "1]"},
		{`length`, "[" + strings.Repeat("1,", 4_000_000) + "1]"},
	}
}

// The bounds of one attack, ten times what it takes, and of the process that
// carries out all of them.
const (
	mostCPU    = 10 * (maxTime + time.Second)
	mostMemory = 2 << 30
)

// asChild is set in the process that carries out the attacks.
const asChild = "EXTSYNC_TEST_HOSTILE"

// Whatever the expression and the input, a run is over in a time and a memory
// that the process can spare. It is a process of its own that is attacked.
func TestHostileExpressions(t *testing.T) {
	if raced {
		t.Skip("the race detector takes time and memory of its own; scripts/test.sh runs this without it")
	}
	if os.Getenv(asChild) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHostileExpressions$", "-test.timeout=20m")
		cmd.Env = append(os.Environ(), asChild+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
		usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok {
			t.Fatal("no usage is known of the process")
		}
		memory := usage.Maxrss
		if runtime.GOOS == "linux" {
			memory <<= 10
		}
		t.Logf("memory: %d MiB at most, CPU: %v", memory>>20, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		if memory > mostMemory {
			t.Errorf("the process had %d MiB", memory>>20)
		}
		return
	}
	for _, c := range hostile() {
		before := cpu(t)
		err := attack(t.Context(), c.expression, c.input)
		if took := cpu(t) - before; took > mostCPU {
			t.Errorf("%.80s: %v of CPU, %v", c.expression, took, err)
		}
	}
}

func cpu(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// Slow runs take no more than their share of the processors, and quick ones do
// not wait for them.
func TestSlowRunsWaitForEachOther(t *testing.T) {
	for range cap(slots) {
		slots <- struct{}{}
		defer func() { <-slots }()
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- attack(ctx, `until(false; .)`, `1`) }()
	if err := attack(ctx, `.a + "x"`, `{"a":"b"}`); err != nil {
		t.Errorf("a quick run waits: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the slow run had no slot, and ended with %v", err)
	}
}

// Slow runs of one program do not fill the queue in front of those of another.
func TestSlowRunsWaitBehindTheirOwn(t *testing.T) {
	p, err := Compile(`until(false; tojson | fromjson)`)
	if err != nil {
		t.Fatal(err)
	}
	for range cap(p.slow) {
		p.slow <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := p.Run(ctx, 1, nil)
		ended <- err
	}()
	if err := attack(ctx, `until(false; .)`, `1`); !errors.Is(err, ErrBounds) && !errors.Is(err, ErrCostly) {
		t.Errorf("a slow run of another program: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the program had no slot left, and its run ended with %v", err)
	}
}

// A bound cannot be caught: what goes on behind it would go on for ever.
func TestBoundsCannotBeCaught(t *testing.T) {
	for _, expression := range []string{
		`try ("x" * 1e8) catch 1`, `("x" * 1e8)?`, `("x" * 1e8) // 1`, `[range(2000000)] | try tojson catch 1`, `try ([range(600000) | []] | tojson) catch 1`,
		`label $out | try ("x" * 1e8, break $out) catch 1`,
	} {
		if err := attack(t.Context(), expression, `1`); !errors.Is(err, ErrBounds) && !errors.Is(err, ErrCostly) {
			t.Errorf("%s: %v", expression, err)
		}
	}
}

func attack(ctx context.Context, expression, input string) error {
	p, err := Compile(expression)
	if err != nil {
		return err
	}
	document, err := Decode([]byte(input))
	if err != nil {
		return err
	}
	_, err = p.Run(ctx, 2, document)
	return err
}
