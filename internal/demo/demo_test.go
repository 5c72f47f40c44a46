package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRun(t *testing.T) {
	var out bytes.Buffer
	dir := t.TempDir()
	sum, err := Run(t.Context(), Options{Out: &out, TempDir: dir})
	if err != nil || !sum.OK {
		t.Fatalf("error %v, summary %+v\n%s", err, sum, &out)
	}
	checkEmpty(t, dir)
}

// stopper ends a context when the narration comes to a word.
type stopper struct {
	word string
	stop func()
}

func (s *stopper) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.word) {
		s.stop()
	}
	return len(p), nil
}

func TestInterruptedAnywhereItLeavesNothing(t *testing.T) {
	for _, word := range []string{"Everything runs", "2. ", "4. ", "the calendar is back", "8. ", "roll back"} {
		t.Run(word, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dir := t.TempDir()
			sum, err := Run(ctx, Options{Out: &stopper{word, cancel}, TempDir: dir})
			if !errors.Is(err, context.Canceled) || sum.OK {
				t.Errorf("error = %v, ok = %v", err, sum.OK)
			}
			checkEmpty(t, dir)
		})
	}
}

func TestFailedExpectation(t *testing.T) {
	var out bytes.Buffer
	n := newNarrator(Options{Out: &out, Strong: strings.ToUpper})
	n.begin("title", "why")
	if err := n.expect(true, "the sky is %s", "blue"); err != nil {
		t.Error(err)
	}
	err := n.expect(false, "the sky is %s", "green")
	if !errors.Is(err, ErrExpectation) || !strings.Contains(err.Error(), "green") {
		t.Errorf("error = %v", err)
	}
	want := []Check{{"title", "the sky is blue", true}, {"title", "the sky is green", false}}
	if len(n.checks) != 2 || n.checks[0] != want[0] || n.checks[1] != want[1] {
		t.Errorf("checks = %+v", n.checks)
	}
	n.summary(Summary{Checks: n.checks})
	for _, text := range []string{"1. TITLE", "ok: the sky is blue", "FAILED the sky is green", "STOPPED", "1 expectations had held"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("the narration lacks %q:\n%s", text, &out)
		}
	}
}
