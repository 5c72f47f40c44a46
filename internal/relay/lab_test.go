package relay_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A lab is a broker with the channels "latest" and "every" and the topic "policies", and a
// platform's database with an outbox.
type lab struct {
	*natstest.Broker
	t       *testing.T
	names   events.Names
	dialect outbox.Dialect
	dsn     string
	db      *sql.DB
	seen    *seen
}

// inEachDialect runs a test on each kind of database.
func inEachDialect(t *testing.T, test func(*testing.T, *lab)) {
	t.Helper()
	for _, d := range outbox.Dialects() {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			test(t, newLab(t, d))
		})
	}
}

func newLab(t *testing.T, d outbox.Dialect) *lab {
	t.Helper()
	l := &lab{Broker: natstest.Run(t), t: t, names: events.DefaultNames(), dialect: d, seen: &seen{count: map[relay.Result]int{}}}
	testkit.Must(t, channels.Provision(t.Context(), l.JS, l.names, channels.Storage{}))
	kind := connectors.Kind{Name: "none", Check: func([]byte) error { return nil }}
	registry, err := channels.OpenRegistry(t.Context(), l.JS, l.names, connectors.NewCatalog(kind))
	testkit.Must(t, err)
	for _, c := range []channels.Config{{Name: "latest", Mode: channels.Latest}, {Name: "every", Mode: channels.Every}} {
		c.Connector.Kind = "none"
		_, err := registry.Put(t.Context(), c, 0)
		testkit.Must(t, err)
	}
	_, err = registry.PutTopic(t.Context(), channels.Topic{Name: "policies"}.WithDefaults(), 0)
	testkit.Must(t, err)
	switch d {
	case outbox.Postgres:
		l.dsn = testdb.Postgres(t)
		l.db = open(t, "pgx", l.dsn)
	case outbox.MySQL:
		l.dsn = testdb.MariaDB(t)
		l.db = open(t, "mysql", l.dsn+"?multiStatements=true")
	case outbox.SQLite:
		l.dsn = filepath.Join(t.TempDir(), "platform.db")
		l.db = open(t, "sqlite", "file:"+l.dsn+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	}
	ddl, err := outbox.DDL(d)
	testkit.Must(t, err)
	for range 2 { // to run it again changes nothing
		l.exec(ddl)
	}
	return l
}

func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, db.Close()) })
	return db
}

func (l *lab) exec(text string, args ...any) {
	l.t.Helper()
	if l.dialect == outbox.Postgres {
		for i := 1; strings.Contains(text, "?"); i++ {
			text = strings.Replace(text, "?", "$"+string(rune('0'+i)), 1)
		}
	}
	_, err := l.db.ExecContext(l.t.Context(), text, args...)
	testkit.Must(l.t, err)
}

// in runs a transaction, which commits if do returns true.
func (l *lab) in(do func(outbox.Tx) bool) {
	l.t.Helper()
	tx, err := l.db.BeginTx(l.t.Context(), nil)
	testkit.Must(l.t, err)
	if do(outbox.SQL(tx, l.dialect)) {
		testkit.Must(l.t, tx.Commit())
	} else {
		testkit.Must(l.t, tx.Rollback())
	}
}

// put commits updates, one transaction for all.
func (l *lab) put(updates ...events.Update) {
	l.t.Helper()
	l.in(func(tx outbox.Tx) bool {
		for _, u := range updates {
			testkit.Must(l.t, outbox.Put(l.t.Context(), tx, u))
		}
		return true
	})
}

// relay starts a relay; the test's end, or stop, ends it.
func (l *lab) relay(change ...func(*relay.Options)) (r *relay.Relay, stop func()) {
	l.t.Helper()
	db, err := relay.Open(l.dialect, l.dsn, 2)
	testkit.Must(l.t, err)
	js, err := jetstream.New(l.Connect(l.t)) // which comes back with the broker
	testkit.Must(l.t, err)
	publisher, err := publish.New(l.t.Context(), js, l.names)
	testkit.Must(l.t, err)
	o := relay.Options{
		DB: db, Publisher: publisher, MaxPayload: js.Conn().MaxPayload, Poll: 20 * time.Millisecond, Claims: 2,
		Logger: zerolog.New(zerolog.NewTestWriter(l.t)), Observer: l.seen,
	}
	for _, c := range change {
		c(&o)
	}
	r = relay.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			l.t.Errorf("the relay ends by itself: %v", err)
		}
	})
	running.Go(func() { r.Watch(ctx, 100*time.Millisecond) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		testkit.Must(l.t, db.Close())
	})
	l.t.Cleanup(stop)
	return r, stop
}

// rows counts rows of the outbox.
func (l *lab) rows(where string) (n int) {
	l.t.Helper()
	testkit.Must(l.t, l.db.QueryRowContext(l.t.Context(), "SELECT count(*) FROM extsync_outbox WHERE "+where).Scan(&n))
	return n
}

func (l *lab) drained() {
	l.t.Helper()
	testkit.Eventually(l.t, "no row to wait", func() bool { return l.rows("noted_at IS NULL") == 0 })
}

// stored returns every message of a route, oldest first.
func (l *lab) stored(r events.Route) (out []*jetstream.RawStreamMsg) {
	l.t.Helper()
	stream, err := l.JS.Stream(l.t.Context(), wire.UpdateStream(l.names, r))
	testkit.Must(l.t, err)
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; seq <= state.LastSeq && state.Msgs > 0; seq++ {
		msg, err := stream.GetMsg(l.t.Context(), seq)
		if err == nil {
			out = append(out, msg)
		}
	}
	return out
}

// versions returns the versions of the messages of a route, oldest first.
func (l *lab) versions(r events.Route) string {
	l.t.Helper()
	var out []string
	for _, msg := range l.stored(r) {
		out = append(out, msg.Header.Get(events.HeaderVersion))
	}
	return strings.Join(out, " ")
}

// seen is what an observer has heard.
type seen struct {
	mu    sync.Mutex
	count map[relay.Result]int
	held  map[string]error
	now   map[string]relay.Standing
	looks int
}

func (s *seen) Relayed(_ string, what relay.Result, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[what] += n
}

func (s *seen) Held(target string, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[string]error{}
	}
	s.held[target] = why
}

func (s *seen) Stands(now map[string]relay.Standing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = now
	s.looks++
}

// looked returns how often the outbox was looked at, or the query was run to its end.
func (s *seen) looked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

func (s *seen) counted(what relay.Result) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[what]
}

func (s *seen) why(target string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[target]
}

func (s *seen) standing(target string) relay.Standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now[target]
}
