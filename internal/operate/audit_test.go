package operate

import (
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestDiffers(t *testing.T) {
	tag := func(n int64, content string) versioning.Tag {
		tag := versioning.Tag{Version: versioning.Must(versioning.Number(n))}
		if content != "" {
			tag.Digest = versioning.Sum("upsert", []byte(content))
		}
		return tag
	}
	timed := versioning.Tag{Version: versioning.Must(versioning.Time(time.Unix(1, 0)))}
	tests := map[string]struct {
		op   events.Op
		held versioning.Tag
		want Difference
	}{
		"equal":           {events.Upsert, tag(7, "a"), ""},
		"no digest there": {events.Upsert, tag(7, ""), ""},
		"other content":   {events.Upsert, tag(7, "b"), DiffDifferent},
		"older":           {events.Upsert, tag(6, "a"), DiffBehind},
		"newer":           {events.Upsert, tag(8, "a"), DiffAhead},
		"other kind":      {events.Upsert, timed, DiffDifferent},
		"absent":          {events.Upsert, versioning.Tag{}, DiffMissing},
		"removed":         {events.Delete, versioning.Tag{}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			applied := appliedCopy(wire.Applied{Tag: tag(7, "a"), Op: tt.op})
			if got := differs(applied, connectors.Held{Tag: tt.held}); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestFieldChanges(t *testing.T) {
	cfg := func(change func(*channels.Config)) channels.Config {
		c := channels.Config{Name: "a", Connector: channels.Connector{Kind: "http", Config: []byte(`{"url": "https://a.example", "auth": {"bearer": "x"}}`)}}
		change(&c)
		return c.WithDefaults()
	}
	old := channels.Entry{Revision: 1, Config: cfg(func(c *channels.Config) { c.Paused = new(true) })}
	got, err := fieldChanges(old, cfg(func(c *channels.Config) {
		c.Retry.MaxAttempts = 3
		c.Connector.Config = []byte(`{"url":"https://a.example","auth":{"bearer":"y"}}`)
	}))
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	for _, f := range got {
		text += f.Field + " " + string(f.Old) + " " + string(f.New) + "\n"
	}
	want := "connector.config.auth.bearer \"x\" \"y\"\npaused true \nretry.max_attempts 20 3\n"
	if text != want {
		t.Errorf("changes\n%swant\n%s", text, want)
	}
}
