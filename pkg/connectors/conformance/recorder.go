package conformance

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"
)

// A Result is what came of a case.
type Result struct {
	Name   string `json:"name"`
	Passed bool   `json:"passed"`
	// Errors say what is wrong, NotTested why a part of the case asked nothing of the
	// target, Notes what helps to repeat it, such as its seed.
	Errors    []string `json:"errors,omitempty"`
	NotTested []string `json:"not_tested,omitempty"`
	Notes     []string `json:"notes,omitempty"`
	TookMS    int64    `json:"took_ms"`
}

// mostNotes bounds what is kept of a case: one that fails for each key says enough with
// some.
const mostNotes = 20

// Record runs the cases one after the other, and gives each result to done. It stops when
// ctx ends; what a case still waits for then is left behind, and it has not passed.
func Record(ctx context.Context, target Target, done func(Result)) {
	for _, c := range Cases() {
		if ctx.Err() != nil {
			return
		}
		done(record(ctx, c.Name, func(t T) {
			target.Check(t)
			c.Run(t, target)
		}))
	}
}

func record(ctx context.Context, name string, f func(T)) Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &recorder{ctx: ctx}
	began := time.Now()
	r.run(f)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Name, r.result.TookMS = name, time.Since(began).Milliseconds()
	r.result.Passed = len(r.result.Errors) == 0
	return r.result
}

// A recorder is a T that notes what a case says.
type recorder struct {
	ctx    context.Context //nolint:containedctx // that of the case, as a test has it
	prefix string          // of what a part of the case says
	parent *recorder       // nil: it is no part
	mu     sync.Mutex
	result Result
}

// run runs f in a goroutine of its own, which Fatal can end.
func (r *recorder) run(f func(T)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.Errorf("it panicked: %v", p)
			}
		}()
		f(r)
	}()
	select {
	case <-done:
	case <-r.ctx.Done():
		r.Errorf("it was interrupted: %v", r.ctx.Err())
	}
}

func (r *recorder) note(list func(*Result) *[]string, text string) {
	text = r.prefix + strings.TrimSuffix(text, "\n")
	if r.parent != nil {
		r.parent.note(list, text)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if all := list(&r.result); len(*all) < mostNotes {
		*all = append(*all, text)
	}
}

func errorsOf(r *Result) *[]string    { return &r.Errors }
func notesOf(r *Result) *[]string     { return &r.Notes }
func notTestedOf(r *Result) *[]string { return &r.NotTested }

func (*recorder) Helper()                           {}
func (r *recorder) Context() context.Context        { return r.ctx }
func (r *recorder) Log(args ...any)                 { r.note(notesOf, fmt.Sprintln(args...)) }
func (r *recorder) Logf(format string, args ...any) { r.note(notesOf, fmt.Sprintf(format, args...)) }
func (r *recorder) Error(args ...any)               { r.note(errorsOf, fmt.Sprintln(args...)) }
func (r *recorder) Errorf(format string, args ...any) {
	r.note(errorsOf, fmt.Sprintf(format, args...))
}
func (r *recorder) NotApplicable(why string) { r.note(notTestedOf, why) }

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Run(name string, f func(T)) bool {
	part := &recorder{ctx: r.ctx, prefix: name + ": ", parent: r}
	part.run(f)
	part.mu.Lock()
	defer part.mu.Unlock()
	return len(part.result.Errors) == 0
}
