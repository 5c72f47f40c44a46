package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
)

func TestSplitKeyVersion(t *testing.T) {
	for text, want := range map[string][2]string{
		"k@7":                    {"k", "7"},
		"mail@host@7":            {"mail@host", "7"},
		"k@2024-05-01T12:00:00Z": {"k", "2024-05-01T12:00:00Z"},
		"k":                      {}, "@7": {}, "k@": {}, "k@x": {},
	} {
		key, version, err := splitKeyVersion(text)
		if (err == nil) != (want[0] != "") || err == nil && (key != want[0] || version.String() != want[1]) {
			t.Errorf("%s: %q, %s, %v", text, key, version, err)
		}
	}
}

func TestMoment(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "2h": now.Add(-2 * time.Hour), "2025-12-31T00:00:00Z": time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC),
	} {
		if got, err := moment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"yesterday", "-2h"} {
		if _, err := moment(text, now); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestStatusRates(t *testing.T) {
	before := []operate.ChannelStatus{{Channel: "a", Published: 100, Undelivered: 10}, {Channel: "again", Published: 50}}
	now := []operate.ChannelStatus{
		{Channel: "a", Published: 140, Undelivered: 30},
		{Channel: "again", Published: 2},
		{Channel: "new", Published: 7},
	}
	lines := statusLines(before, now, 2*time.Second)
	if l := lines[0]; *l.In != 20 || *l.Out != 10 {
		t.Errorf("not 20 in and 10 out: %+v", l)
	}
	for _, l := range lines[1:] {
		if l.In != nil || l.Out != nil {
			t.Errorf("a rate where nothing is known: %+v", l)
		}
	}
}

func TestProgressWithoutTerminalIsPlainLines(t *testing.T) {
	var out bytes.Buffer
	sh := &Shell{Err: &out, Environ: []string{"TERM=xterm"}}
	p := sh.progress("keys", 100)
	p.set(10)
	p.last, p.begun = time.Now().Add(-time.Minute), time.Now().Add(-time.Minute)
	p.set(50)
	p.end()
	if got := out.String(); !strings.HasPrefix(got, "keys: 50 of 100, 1m") || strings.ContainsAny(got, "\x1b\r") || strings.Count(got, "\n") != 1 {
		t.Errorf("progress %q", got)
	}
}

// Live work adds to what was counted: the bar is full then, and not wrong.
func TestProgressIsNeverMoreThanAll(t *testing.T) {
	p := &progress{total: 10, bar: progressbar.NewOptions64(10, progressbar.OptionSetWriter(io.Discard))}
	for _, step := range []struct{ done, want int64 }{{4, 4}, {15, 10}} {
		if p.set(step.done); p.bar.State().CurrentNum != step.want {
			t.Errorf("%d of 10 is shown as %d, want %d", step.done, p.bar.State().CurrentNum, step.want)
		}
	}
}

// To hold a resync is no failure, whatever it has met before.
func TestPausedResyncWithFailures(t *testing.T) {
	sh := &Shell{Out: io.Discard}
	if err := writeResync(sh, operate.Resync{State: channels.ResyncPaused, Failed: 1}); err != nil {
		t.Error(err)
	}
}

func FuzzDecodeImportState(f *testing.F) {
	f.Add([]byte(`{"f":3,"channel":"a","stream":"s","done_sha256":"00","offset":12,"line":1,"rejected":1}`))
	f.Add([]byte(`{"f":2,"offset":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if s := decodeImportState(data); s.Offset < 0 || s.Line < 0 || s.Rejected < 0 {
			t.Errorf("a state out of range: %+v", s)
		}
	})
}
