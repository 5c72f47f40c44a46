package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
)

// lines gives one line of a key that has to wait, and then many of others.
type lines struct {
	left  int
	given int64 // bytes
	rest  string
}

func (l *lines) Read(p []byte) (int, error) {
	if l.rest == "" {
		if l.left == 0 {
			return 0, io.EOF
		}
		l.left--
		key := "blocked"
		if l.given > 0 {
			key = fmt.Sprint("other", l.left)
		}
		l.rest = fmt.Sprintf(`{"key":%q,"version":1,"payload":%q}`+"\n", key, strings.Repeat("x", 1000))
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	l.given += int64(n)
	return n, nil
}

// A line that has to wait let the whole rest of the file into memory.
func TestImportHoldsABoundedPartOfTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 100_000 // of 1 kB each: more than importHeld
		in := &lines{left: many}
		release := make(chan struct{})
		im := newImporter(ImportOptions{
			Route: events.ToChannel("c"), In: in, InFlight: 64,
			Reject:   func(r ImportReject) error { return fmt.Errorf("line %d: %s", r.Line, r.Reason) },
			Progress: func(ImportSummary) error { return nil },
		})
		im.publishAll = inWindows(func(u events.Update) (events.Receipt, error) {
			if u.Key == "blocked" {
				<-release
			}
			return events.Receipt{}, nil
		})
		done := make(chan error)
		go func() { done <- im.run(t.Context()) }()
		synctest.Wait() // until nothing moves any more
		if in.given == 0 || in.given > importHeld {
			t.Errorf("%d bytes were read while a line waited; %d may be held", in.given, importHeld)
		}
		if im.sum.Offset != 0 {
			t.Errorf("all up to %d is called done before the first line was", im.sum.Offset)
		}
		close(release)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if im.sum.Stored != many || im.sum.Offset != in.given || len(im.window) != 0 {
			t.Errorf("the sum says %+v of %d bytes, with %d of them not done", im.sum, in.given, len(im.window))
		}
	})
}

// inWindows publishes as publish.Publisher.PublishAll does: the result of an update comes
// when the window behind it is full, or when no more updates come.
func inWindows(publish func(events.Update) (events.Receipt, error)) func(context.Context, iter.Seq[events.Update], int) iter.Seq2[events.Receipt, error] {
	return func(_ context.Context, updates iter.Seq[events.Update], most int) iter.Seq2[events.Receipt, error] {
		return func(yield func(events.Receipt, error) bool) {
			var window []events.Update
			for u := range updates {
				if len(window) == most {
					if !yield(publish(window[0])) {
						return
					}
					window = window[1:]
				}
				window = append(window, u)
			}
			for _, u := range window {
				if !yield(publish(u)) {
					return
				}
			}
		}
	}
}

// Every line is counted once and in its place, whatever becomes of it and wherever the
// window of updates on their way begins and ends.
func TestImportCountsEveryLine(t *testing.T) {
	const kinds = 7
	kind := func(line int) int { return line * line % 11 % kinds } // in changing order
	for _, inFlight := range []int{1, 3, 64} {
		synctest.Test(t, func(t *testing.T) {
			var text strings.Builder
			var ends []int64
			want := ImportSummary{Line: 500}
			var refused []int64
			for line := range int(want.Line) {
				switch kind(line) {
				case 0:
					text.WriteString("no update\n")
				case 1:
					text.WriteString(" \r\n")
				default:
					fmt.Fprintf(&text, `{"key":"%d","version":1,"payload":0}`+"\n", line)
				}
				ends = append(ends, int64(text.Len()))
				switch kind(line) {
				case 0, 2:
					want.Rejected++
					refused = append(refused, int64(line+1))
				case 1:
				case 3:
					want.Stale++
				case 4:
					want.Duplicates++
				default:
					want.Stored++
				}
			}
			want.Offset = int64(text.Len())
			var rejects []int64
			tried := map[string]bool{}
			im := newImporter(ImportOptions{
				Route: events.ToChannel("c"), In: strings.NewReader(text.String()), InFlight: inFlight,
				Reject: func(r ImportReject) error { rejects = append(rejects, r.Line); return nil },
				Progress: func(s ImportSummary) error {
					if s.Offset != ends[s.Line-1] {
						t.Errorf("line %d ends at %d, not at %d", s.Line, ends[s.Line-1], s.Offset)
					}
					return nil
				},
			})
			im.answers = func(context.Context, events.Route) bool { return false }
			im.publish = func(_ context.Context, u events.Update) (events.Receipt, error) {
				line, err := strconv.Atoi(u.Key)
				if err != nil {
					t.Error(err)
				}
				switch kind(line) {
				case 2:
					return events.Receipt{}, events.ErrConflict
				case 3:
					return events.Receipt{}, events.ErrStale
				case 4:
					return events.Receipt{Duplicate: true}, nil
				case 5:
					if !tried[u.Key] {
						tried[u.Key] = true
						return events.Receipt{}, events.ErrUnavailable
					}
				}
				return events.Receipt{}, nil
			}
			im.publishAll = inWindows(func(u events.Update) (events.Receipt, error) { return im.publish(t.Context(), u) })
			if err := im.run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if im.sum != want || !slices.Equal(rejects, refused) {
				t.Errorf("%d in flight: %+v, want %+v; rejected %d, want %d", inFlight, im.sum, want, rejects, refused)
			}
		})
	}
}

// After an outage of a moment each line that had been on its way waited two seconds by itself:
// 256 of them took nine minutes.
func TestImportGoesOnAtOnceAfterAnOutage(t *testing.T) {
	var lines strings.Builder
	for i := range 300 {
		fmt.Fprintf(&lines, `{"key":"k%d","version":1,"payload":0}`+"\n", i)
	}
	synctest.Test(t, func(t *testing.T) {
		im := newImporter(ImportOptions{
			Route: events.ToChannel("c"), In: strings.NewReader(lines.String()), InFlight: 256,
			Reject:   func(r ImportReject) error { return fmt.Errorf("line %d: %s", r.Line, r.Reason) },
			Progress: func(ImportSummary) error { return nil },
			Waits:    func(err error) { t.Errorf("it waits: %v", err) },
		})
		im.publishAll = inWindows(func(events.Update) (events.Receipt, error) { return events.Receipt{}, events.ErrUnavailable })
		im.publish = func(context.Context, events.Update) (events.Receipt, error) { return events.Receipt{}, nil }
		began := time.Now()
		if err := im.run(t.Context()); err != nil || im.sum.Stored != 300 || time.Since(began) >= importRetry {
			t.Errorf("%+v, %v, after %s", im.sum, err, time.Since(began))
		}
	})
}

// A pipe that gives a line now and then has it stored before the next one comes.
func TestImportStoresWhatAPipeGives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, in := io.Pipe()
		stored := make(chan string, 1)
		im := newImporter(ImportOptions{
			Route: events.ToChannel("c"), In: out, InFlight: 64, Refs: true,
			Reject:   func(r ImportReject) error { return fmt.Errorf("line %d: %s", r.Line, r.Reason) },
			Progress: func(ImportSummary) error { return nil },
		})
		remembered := map[string]string{}
		im.setRefs = func(_ context.Context, _, key string, refs events.Refs) error {
			remembered[key] = refs["id"]
			return nil
		}
		im.publishAll = inWindows(func(u events.Update) (events.Receipt, error) {
			stored <- u.Key + " " + remembered[u.Key]
			return events.Receipt{}, nil
		})
		done := make(chan error)
		go func() { done <- im.run(t.Context()) }()
		for i := range 3 {
			if _, err := fmt.Fprintf(in, `{"key":"k%d","version":1,"payload":0,"refs":{"id":"r%d"}}`+"\n", i, i); err != nil {
				t.Fatal(err)
			}
			if got, want := <-stored, fmt.Sprintf("k%d r%d", i, i); got != want {
				t.Errorf("stored %s, want %s", got, want)
			}
		}
		if err := errors.Join(in.Close(), <-done); err != nil {
			t.Fatal(err)
		}
	})
}
