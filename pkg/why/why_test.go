package why_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/why"
)

// TestCodes: each code is listed once, says what to do, and what blocks is an alarm.
func TestCodes(t *testing.T) {
	seen := map[why.Code]bool{}
	for _, c := range why.Codes() {
		if seen[c] {
			t.Errorf("%s is listed twice", c)
		}
		seen[c] = true
		if c.Advice() == "" {
			t.Errorf("%s says nothing to do", c)
		}
		if c.Blocks() && !c.Alarming() {
			t.Errorf("%s blocks a channel and alarms nobody", c)
		}
	}
	for _, quiet := range []why.Code{why.Paused, why.Deleted, why.Changing, why.Parked, "unheard_of"} {
		if quiet.Alarming() {
			t.Errorf("%s is an alarm", quiet)
		}
	}
}

func TestUrgency(t *testing.T) {
	got := []why.Code{"unheard_of", why.Paused, why.CircuitOpen, why.SecretMissing, why.NoWorker}
	slices.SortFunc(got, why.Compare)
	if want := []why.Code{why.NoWorker, why.SecretMissing, why.CircuitOpen, why.Paused, "unheard_of"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestSentence(t *testing.T) {
	next := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for want, r := range map[string]why.Reason{
		"somebody has paused it": {Code: why.Paused, Message: "somebody has paused it"},
		"blocked at worker w2: environment variable CHANNEL_ERP_TOKEN is not set (next attempt 2026-05-01T12:00:00Z)": {
			Code: why.SecretMissing, Message: "environment variable CHANNEL_ERP_TOKEN is not set", Worker: "w2", Next: next,
		},
		"worker w1: 3 keys are parked": {Code: why.Parked, Message: "3 keys are parked", Worker: "w1"},
	} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
