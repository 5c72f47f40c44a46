package sleep_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hms-utl/extsync/internal/sleep"
)

func TestFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		if !sleep.For(t.Context(), time.Hour) || time.Since(started) != time.Hour {
			t.Errorf("it slept for %s, want an hour, and the context lives", time.Since(started))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started = time.Now()
		if sleep.For(ctx, time.Hour) || time.Since(started) != time.Minute {
			t.Errorf("it slept for %s, want the minute of the context, which has ended", time.Since(started))
		}
		if sleep.For(ctx, 0) {
			t.Error("an ended context is said to live")
		}
	})
}
