package ledger

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// outcomes tells a view of so many more outcomes in writeEvery, and the other views of
// the worker of others, some at a time, for a while.
func (v *View) outcomes(each, others int, during time.Duration) {
	const step = writeEvery / 8
	for range during / step {
		v.locked(func() {
			v.added += each / 8
			v.o.Shared.outcomes.Add(int64(each+others) / 8)
			v.stir()
		})
		time.Sleep(step) //nolint:forbidigo // simulated time
	}
}

func TestWriteWaitsLongerWhileManyOutcomesCome(t *testing.T) {
	tests := map[string]struct {
		each        int // outcomes in writeEvery
		others      int // and of other partitions
		during      time.Duration
		least, most time.Duration // until the write
	}{
		"few":                    {writeMany / 2, 0, time.Minute, writeEvery, 2 * writeEvery},
		"many":                   {2 * writeMany, 0, time.Minute, writeBusy, writeBusy + writeEvery},
		"many, then no more":     {2 * writeMany, 0, 4 * writeEvery, 4 * writeEvery, 6 * writeEvery},
		"a share of many":        {2 * writeShare, 2 * writeMany, time.Minute, writeBusy, writeBusy + writeEvery},
		"few of many":            {writeShare / 2, 2 * writeMany, time.Minute, writeEvery, 2 * writeEvery},
		"a share of not so many": {2 * writeShare, writeMany / 2, time.Minute, writeEvery, 2 * writeEvery},
		"none of many":           {0, 2 * writeMany, time.Minute, writeEvery, 2 * writeEvery},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := New(Options{Shared: &Shared{}})
				defer v.Close()
				var wg sync.WaitGroup
				wg.Go(func() { v.outcomes(tt.each, tt.others, tt.during) })
				defer wg.Wait()
				from := time.Now()
				if !v.awaitDue(t.Context(), writeEvery, true) {
					t.Fatal("it is not time for a write")
				}
				if took := time.Since(from); took < tt.least || took > tt.most {
					t.Errorf("the write waits %v, not %v to %v", took, tt.least, tt.most)
				}
			})
		})
	}
}

// What moves while a write is on its way, such as the floor, is written soon after: it
// was written with the next outcome, or a minute later.
func TestStirDuringAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := New(Options{Shared: &Shared{}})
		defer v.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		began := make(chan time.Time, 10)
		first := true
		go v.Run(ctx, func(context.Context) (int, error) {
			began <- time.Now()
			if first {
				v.Stir()
			}
			first = false
			return 0, nil
		}, func(error, time.Duration) bool { return true })
		synctest.Wait()
		v.Stir()
		at := <-began
		if later := (<-began).Sub(at); later > 2*writeEvery {
			t.Errorf("the next write began %s later, want %s at most", later, 2*writeEvery)
		}
		select {
		case <-began:
			t.Error("it writes on although nothing moves")
		case <-time.After(restMost / 2):
		}
	})
}
