package relay_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A stateLab is a lab whose platform has a table of its own, policies, and no outbox.
type stateLab struct {
	*lab
	log *strings.Builder // guarded by mu
	mu  *sync.Mutex
}

func inEachState(t *testing.T, test func(*testing.T, *stateLab)) {
	t.Helper()
	inEachDialect(t, func(t *testing.T, l *lab) { test(t, withTable(l)) })
}

func withTable(l *lab) *stateLab {
	l.t.Helper()
	payload, changed := "bytea", "timestamp(6)"
	switch l.dialect {
	case outbox.MySQL:
		payload, changed = "longblob", "datetime(6)"
	case outbox.SQLite:
		payload, changed = "blob", "datetime"
	}
	l.exec("CREATE TABLE policies (id varchar(200), change_no bigint, changed_at " + changed + ", body " + payload + ", target varchar(100), op varchar(20))")
	return &stateLab{lab: l, log: &strings.Builder{}, mu: &sync.Mutex{}}
}

// Write takes the log of followers.
func (l *stateLab) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log.Write(p)
}

// logged returns how often the log says something.
func (l *stateLab) logged(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.log.String(), text)
}

// set puts a row into the table, in place of that of the key.
func (l *stateLab) set(key string, version int64, body string) {
	l.t.Helper()
	l.exec("DELETE FROM policies WHERE id = ?", key)
	l.exec("INSERT INTO policies (id, change_no, changed_at, body) VALUES (?, ?, ?, ?)", key, version, at(version).Format("2006-01-02 15:04:05.000000"), []byte(body))
}

// at is the time that a version is.
func at(version int64) time.Time {
	return time.Date(2024, time.May, 1, 10, 0, 0, 0, time.UTC).Add(time.Duration(version) * time.Second)
}

func body(version int64) string { return fmt.Sprintf(`{"v": %d}`, version) }

// rowsOf selects the table with some columns more.
func (l *stateLab) rowsOf(version, more string) string {
	return "SELECT id AS " + l.key() + ", " + version + " AS version, body AS payload" + more + " FROM policies WHERE " + version + " > :since"
}

// source returns the table as a source, for a target.
func (l *stateLab) source(target events.Route, change ...func(*relay.Source)) *relay.Source {
	l.t.Helper()
	db, err := relay.Open(l.dialect, l.dsn, 1)
	testkit.Must(l.t, err)
	l.t.Cleanup(func() { testkit.Must(l.t, db.Close()) })
	s := &relay.Source{DB: db, Query: l.parse(l.rowsOf("change_no", "")), Target: target.ID()}
	for _, c := range change {
		c(s)
	}
	return s
}

// parse reads a query of versions that are numbers, or timed ones.
func (l *stateLab) parse(text string) relay.Query { return l.parseOf(versioning.Numbered, text) }
func (l *stateLab) timed(text string) relay.Query { return l.parseOf(versioning.Timed, text) }

func (l *stateLab) parseOf(versions versioning.Kind, text string) relay.Query {
	l.t.Helper()
	q, err := relay.ParseQuery(l.dialect, versions, text)
	testkit.Must(l.t, err)
	return q
}

// follow starts a follower; the test's end, or stop, ends it.
func (l *stateLab) follow(source *relay.Source, change ...func(*relay.FollowOptions)) (f *relay.Follower, stop func()) {
	l.t.Helper()
	js, err := jetstream.New(l.Connect(l.t)) // which comes back with the broker
	testkit.Must(l.t, err)
	publisher, err := publish.New(l.t.Context(), js, l.names)
	testkit.Must(l.t, err)
	o := relay.FollowOptions{
		Source: source, Publisher: publisher, MaxPayload: js.Conn().MaxPayload, Poll: 20 * time.Millisecond,
		Overlap: relay.Overlap{Versions: 10, Time: 10 * time.Second}, Logger: zerolog.New(io.MultiWriter(l, zerolog.NewTestWriter(l.t))), Observer: l.seen,
	}
	for _, c := range change {
		c(&o)
	}
	f = relay.Follow(o)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx); err != nil {
			l.t.Errorf("the follower ends by itself: %v", err)
		}
	})
	running.Go(func() { f.Watch(ctx, 100*time.Millisecond) })
	stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	l.t.Cleanup(stop)
	return f, stop
}

// passes waits until the query was run to its end twice from now on: once for what the table
// has now.
func (l *stateLab) passes() {
	l.t.Helper()
	upto := l.seen.looked() + 2
	testkit.Eventually(l.t, "two runs of the query", func() bool { return l.seen.looked() >= upto })
}

// published waits until a route's stream has these versions. Those of several keys may have
// come in another order.
func (l *stateLab) published(r events.Route, versions string) {
	l.t.Helper()
	sorted := func(text string) string { return strings.Join(slices.Sorted(strings.FieldsSeq(text)), " ") }
	testkit.Eventually(l.t, r.String()+" to have versions "+versions, func() bool { return sorted(l.versions(r)) == sorted(versions) })
}

// client returns a client of the broker.
func (l *stateLab) client() *operate.Client {
	l.t.Helper()
	c, err := operate.Connect(l.t.Context(), config.Default(), zerolog.Nop(), l.InProcess(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	testkit.Must(l.t, err)
	l.t.Cleanup(c.Close)
	return c
}
