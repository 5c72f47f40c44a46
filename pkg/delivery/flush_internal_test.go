package delivery

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// outcomes tells a view of so many more outcomes in flushEvery, and the other views of
// the worker of others, some at a time, for a while.
func (t *tenure) outcomes(each, others int, during time.Duration) {
	const step = flushEvery / 8
	for range during / step {
		t.locked(func() {
			t.view.added += each / 8
			t.b.outcomesAdded.Add(int64(each+others) / 8)
			t.endRest()
		})
		time.Sleep(step) //nolint:forbidigo // simulated time
	}
}

func TestFlushWaitsLongerWhileManyOutcomesCome(t *testing.T) {
	tests := map[string]struct {
		each        int // outcomes in flushEvery
		others      int // and of other partitions
		during      time.Duration
		least, most time.Duration // until the flush
	}{
		"few":                    {flushMany / 2, 0, time.Minute, flushEvery, 2 * flushEvery},
		"many":                   {2 * flushMany, 0, time.Minute, flushBusy, flushBusy + flushEvery},
		"many, then no more":     {2 * flushMany, 0, 4 * flushEvery, 4 * flushEvery, 6 * flushEvery},
		"a share of many":        {2 * flushShare, 2 * flushMany, time.Minute, flushBusy, flushBusy + flushEvery},
		"few of many":            {flushShare / 2, 2 * flushMany, time.Minute, flushEvery, 2 * flushEvery},
		"a share of not so many": {2 * flushShare, flushMany / 2, time.Minute, flushEvery, 2 * flushEvery},
		"none of many":           {0, 2 * flushMany, time.Minute, flushEvery, 2 * flushEvery},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tn := &tenure{b: &broker{}, wakeFlush: make(chan struct{}, 1)}
				tn.view = newView(tn)
				var wg sync.WaitGroup
				wg.Go(func() { tn.outcomes(tt.each, tt.others, tt.during) })
				defer wg.Wait()
				from := time.Now()
				if !tn.awaitFlush(t.Context(), flushEvery, true) {
					t.Fatal("it is not time for a flush")
				}
				if took := time.Since(from); took < tt.least || took > tt.most {
					t.Errorf("the flush waits %v, not %v to %v", took, tt.least, tt.most)
				}
			})
		})
	}
}
