package operate_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
	_ "modernc.org/sqlite" // registers "sqlite"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// An audit finds exactly what differs, wherever pages, batches and answers begin and end,
// and asks the broker no more often than for the pages; status and get ask for nothing
// that grows with the keys.
func TestAuditFindsAllAtTheEdgesOfPages(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Allow.Databases = connectors.List{dir}
	client, err := operate.Connect(t.Context(), cfg, zerolog.Nop(), natstest.Run(t).InProcess())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	var asked atomic.Int64
	if _, err := client.JS.Conn().Subscribe("$JS.API.>", func(*nats.Msg) { asked.Add(1) }); err != nil {
		t.Fatal(err)
	}
	requests := func(do func() error) int64 {
		t.Helper()
		before := asked.Load()
		if err := do(); err != nil {
			t.Fatal(err)
		}
		if err := client.JS.Conn().Flush(); err != nil { // what was asked has been heard
			t.Fatal(err)
		}
		return asked.Load() - before
	}
	var looks []int64
	for _, keys := range []int{0, 1, 99, 501, 1000, 2011} {
		s := auditSite{Client: client, name: fmt.Sprintf("audit%d", keys), path: filepath.Join(dir, fmt.Sprintf("%d.db", keys)), keys: keys}
		s.fill(t)
		want := s.spoil(t)
		var got []string
		sum := operate.AuditSummary{}
		n := requests(func() (err error) {
			sum, err = client.Audit(t.Context(), s.name, func(f operate.Finding) error {
				got = append(got, fmt.Sprint(f.Key, " ", f.Difference, " ", strings.Join(f.Changed, ",")))
				return nil
			}, func(operate.AuditSummary) {})
			return err
		})
		slices.Sort(got)
		if !slices.Equal(got, want) || sum.Looked != int64(keys) || !sum.Compared || !sum.Listed {
			t.Errorf("%d keys: found\n%s\nwant\n%s\n%+v", keys, strings.Join(got, "\n"), strings.Join(want, "\n"), sum)
		}
		// What seems to differ is looked up key by key, twice, and each page takes some.
		if most := int64(30 + 3*len(want) + keys/20); n > most {
			t.Errorf("%d keys: the broker was asked %d times, more than %d", keys, n, most)
		}
		looks = append(looks, requests(func() error { _, err := client.Status(t.Context(), s.name); return err }))
		if keys > 0 {
			looks = append(looks, requests(func() error { _, err := client.Find(t.Context(), s.key(0), s.name); return err }))
		}
	}
	// A dozen or two, by what the broker has just been asked; a look at each key would be 2,011.
	if most := slices.Max(looks); most > 60 {
		t.Errorf("status or get asked the broker %d times: %d", most, looks)
	}
}

// An auditSite is a channel whose ledger says that keys were delivered into a table.
type auditSite struct {
	*operate.Client
	name, path string
	keys       int
}

func (s *auditSite) key(i int) string { return fmt.Sprintf("k%05d", i) }

func (s *auditSite) fill(t *testing.T) {
	t.Helper()
	c := channels.Config{Name: s.name, Mode: channels.Latest, MaxBytes: 16 << 20, Connector: channels.Connector{Kind: "sql", Config: channels.NewRaw(map[string]any{
		"dialect": "sqlite", "dsn": s.path, "table": "copies", "auto_create": true,
	})}}.WithDefaults()
	if _, err := s.Apply(t.Context(), channels.File{Channels: []channels.Config{c}}, false); err != nil {
		t.Fatal(err)
	}
	registry, err := s.Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entry, err := registry.Get(t.Context(), s.name)
	if err != nil {
		t.Fatal(err)
	}
	target, done, err := s.OpenTarget(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	publisher, err := s.Publisher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var attempts []connectors.Attempt
	updates := func(yield func(events.Update) bool) {
		for i := range s.keys {
			u := events.Update{Channel: s.name, Key: s.key(i), Version: versioning.Must(versioning.Number(1)), Payload: fmt.Appendf(nil, `{"n":%d}`, i)}.WithDefaults()
			attempts = append(attempts, connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1})
			if !yield(u) {
				return
			}
		}
	}
	for _, err := range publisher.PublishAll(t.Context(), updates, 64) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for part := range slices.Chunk(attempts, 100) {
		for i, r := range target.Apply(t.Context(), part) {
			if r.Err != nil {
				t.Fatal(part[i].Key, r.Err)
			}
		}
	}
	for _, a := range attempts {
		enc, err := events.EncodeKey(a.Key)
		if err != nil {
			t.Fatal(err)
		}
		rec := wire.Record{Format: wire.Format, Key: a.Key, ChannelID: entry.ID, Applied: wire.Applied{Tag: a.Tag(), Op: a.Op, At: time.Now()}, Settled: a.Tag(), State: wire.StateSettled}
		data, err := rec.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.JS.PublishMsg(t.Context(), &nats.Msg{Subject: wire.LedgerSubject(s.Names, s.name, enc), Data: data}); err != nil {
			t.Fatal(err)
		}
	}
}

// spoil changes the table where batches of 50, 100 and 500 begin and end, and returns what
// an audit is to find.
func (s *auditSite) spoil(t *testing.T) (want []string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // each statement was checked
	do := func(statement string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	for i, at := range []int{0, 49, 50, 98, 99, 100, 499, 500, 501, 999, 1000, 1499, 2010} {
		switch key := s.key(at); {
		case at >= s.keys:
		case i%3 == 0:
			do("DELETE FROM copies WHERE key = ?", key)
			want = append(want, key+" missing ")
		case i%3 == 1:
			do(`UPDATE copies SET content = '{"n":"x"}' WHERE key = ?`, key)
			want = append(want, key+" different content")
		default:
			do("UPDATE copies SET version = 2 WHERE key = ?", key)
			want = append(want, key+" ahead ")
		}
	}
	if s.keys > 0 {
		for _, key := range []string{"a", "k00000x", "z"} {
			do("INSERT INTO copies (key, version, version_nanos, digest, op, content, updated_at) VALUES (?, 1, 0, '', 'upsert', '{}', '2024-01-01T00:00:00Z')", key)
			want = append(want, key+" extra ")
		}
	}
	slices.Sort(want)
	return want
}
