package app

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	_ "modernc.org/sqlite" // registers "sqlite"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
)

// A comparison that a running relay makes is in its log and in its metrics, and changes
// nothing.
func TestRunningRelayCompares(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "platform.db")
	db, err := sql.Open("sqlite", "file:"+path)
	testkit.Must(t, err)
	defer func() { _ = db.Close() }() // each statement was checked
	_, err = db.ExecContext(t.Context(), `CREATE TABLE policies (id TEXT, v INTEGER, body TEXT); INSERT INTO policies VALUES ('a', 1, '{}'), ('b', 2, '{')`)
	testkit.Must(t, err)

	cfg := config.Default()
	cfg.Relay.Dialect, cfg.Relay.DSN, cfg.Relay.Target = "sqlite", path, "topics/policies"
	cfg.Relay.Query = "SELECT id AS key, v AS version, body AS payload FROM policies WHERE v > :since"
	cfg.Relay.Poll, cfg.Relay.CompareEvery = config.Poll(10*time.Millisecond), config.Duration(time.Hour)
	testkit.Must(t, cfg.Validate())
	c, err := operate.Connect(t.Context(), cfg, zerolog.Nop(), natstest.Run(t).InProcess())
	testkit.Must(t, err)
	defer c.Close()
	_, err = c.Apply(t.Context(), channels.File{Topics: []channels.Topic{channels.Topic{Name: "policies"}.WithDefaults()}}, false)
	testkit.Must(t, err)
	source, err := OpenSource(cfg.Relay)
	testkit.Must(t, err)
	defer func() { testkit.Must(t, source.DB.Close()) }()

	var log strings.Builder
	registry := telemetry.NewRegistry()
	p := relaying{c: c, o: RelayOptions{Config: cfg, Logger: zerolog.New(&log)}, metrics: telemetry.NewRelayMetrics(registry, func() []string { return nil })}
	for range 2 { // the second finds what the first has found
		testkit.Must(t, p.compare(t.Context(), source))
		families, err := registry.Gather()
		testkit.Must(t, err)
		got := map[string]float64{}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				switch family.GetName() {
				case "extsync_relay_compared":
					got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
				case "extsync_relay_compared_timestamp_seconds":
					got["at"] = m.GetGauge().GetValue()
				}
			}
		}
		if got["missing"] != 1 || got["bad"] != 1 || got["agree"] != 0 || len(got) != 8 || time.Since(time.Unix(int64(got["at"]), 0)) > time.Hour {
			t.Errorf("metrics: %v", got)
		}
	}
	for _, want := range []string{`"finding":"missing","target":"topics/policies","key":"a","platform":"1"`, `"message":"the query was compared with the broker"`, `"missing":1`} {
		if strings.Count(log.String(), want) != 2 {
			t.Errorf("no %s in the log:\n%s", want, &log)
		}
	}
}
