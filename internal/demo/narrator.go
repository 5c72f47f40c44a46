package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// A narrator writes for the audience and notes what was checked.
type narrator struct {
	out    io.Writer
	strong func(string) string
	step   string
	steps  int
	checks []Check
}

func newNarrator(o Options) *narrator {
	n := &narrator{out: o.Out, strong: o.Strong}
	if n.out == nil {
		n.out = io.Discard
	}
	if n.strong == nil {
		n.strong = func(s string) string { return s }
	}
	return n
}

// printf does not fail: the checks decide, and they are made for nobody too.
func (n *narrator) printf(format string, args ...any) { _, _ = fmt.Fprintf(n.out, format, args...) }

func (n *narrator) intro(dir string) {
	n.printf("%s\n", n.strong("extsync keeps the copies in other systems at the platform's newest version."))
	n.printf("Everything runs in this process: a NATS broker, a connector-worker, an HTTP\n")
	n.printf("receiver and a SQLite file. The data is in %s until the end.\n", dir)
}

// begin starts a step with what it shows and why that matters.
func (n *narrator) begin(title, why string) {
	n.steps++
	n.step = title
	n.printf("\n%s\n", n.strong(fmt.Sprintf("%d. %s", n.steps, title)))
	for line := range strings.Lines(why) {
		n.printf("   %s", line)
	}
	n.printf("\n")
}

// did tells what was done, got what came of it.
func (n *narrator) did(format string, args ...any) { n.printf("   > "+format+"\n", args...) }
func (n *narrator) got(format string, args ...any) { n.printf("     "+format+"\n", args...) }

// expect notes whether something holds, and ends the demonstration if not.
func (n *narrator) expect(ok bool, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	n.checks = append(n.checks, Check{Step: n.step, Text: text, OK: ok})
	if !ok {
		n.printf("   %s %s\n", n.strong("FAILED"), text)
		return fmt.Errorf("%w: %s", ErrExpectation, text)
	}
	n.printf("   ok: %s\n", text)
	return nil
}

func (n *narrator) summary(s Summary) {
	held := 0
	for _, c := range s.Checks {
		if c.OK {
			held++
		}
	}
	took := s.Duration.Round(100 * time.Millisecond)
	if !s.OK {
		n.printf("\n%s after %s, %d expectations had held.\n", n.strong("Stopped"), took, held)
		return
	}
	n.printf("\n%s all %d expectations held, in %s, and nothing is left behind.\n", n.strong("Summary:"), held, took)
	n.printf("Try it yourself: 'extsync dev' keeps the same stack running.\n")
}
