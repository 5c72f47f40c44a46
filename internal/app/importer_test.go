package app

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/sync/semaphore"

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
		im := importer{
			o: ImportOptions{
				Channel: "c", In: in, InFlight: maxTestLanes,
				Reject:   func(r ImportReject) error { return fmt.Errorf("line %d: %s", r.Line, r.Reason) },
				Progress: func(ImportSummary) error { return nil },
			},
			publish: func(_ context.Context, u events.Update) (events.Receipt, error) {
				if u.Key == "blocked" {
					<-release
				}
				return events.Receipt{}, nil
			},
			room: semaphore.NewWeighted(importHeld),
		}
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
		if im.sum.Stored != many || im.sum.Offset != in.given || len(im.pending) != 0 {
			t.Errorf("the sum says %+v of %d bytes, with %d pending", im.sum, in.given, len(im.pending))
		}
	})
}

// maxTestLanes is so large that the others hardly ever wait for the lane of the
// key that is blocked.
const maxTestLanes = 1 << 17
