package integration

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the platform's driver

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// 32 writers of a platform on 100 keys, while relays, of which there are two, the database,
// the broker and the platform are killed and frozen at random: the newest version of each key is the
// newest that was committed, in mode every none of the committed versions is missing or out
// of order, none that was rolled back appears, and the outbox ends empty.
func TestOutboxThroughFaults(t *testing.T) {
	t.Parallel()
	long := time.Duration(sized(t, "seconds", 12, 300)) * time.Second
	seed := rand.Uint64() //nolint:gosec // not a secret
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not a secret
	crew := faults.NewCrew(t)
	server := faults.StartServer(t, crew, natsServer(t))
	r := newRigAt(t, crew, server.URL, 1)
	for name, mode := range map[string]channels.Mode{"every": channels.Every, "latest": channels.Latest} {
		// Nobody delivers: what was published stays where it can be counted.
		r.channel(name, mode, "http", map[string]any{"url": "http://target.example/"})
	}
	postgres := testdb.StartPostgres(t)
	dsn := postgres.CreateDatabase(t)
	db := openPlatform(t, dsn)
	relay := func(name string) *faults.Process {
		return crew.Start(t, faults.Spec{
			Name: name, Path: binary(t, "publisher"), Args: []string{"relay"},
			Env: []string{"EXTSYNC_NATS_URL=" + server.URL, "EXTSYNC_RELAY_DIALECT=postgres", "EXTSYNC_RELAY_DSN=" + dsn},
		})
	}
	platform := func() *faults.Process {
		self, err := os.Executable()
		testkit.Must(t, err)
		return crew.Start(t, faults.Spec{Name: "platform", Path: self, Env: []string{platformVariable + "=" + dsn}})
	}
	relays := []*faults.Process{relay("relay-0"), relay("relay-1")}
	writers := platform()
	for n, ends := 2, time.Now().Add(long); time.Now().Before(ends); n++ {
		r.pass(time.Duration(200+dice.IntN(1500)) * time.Millisecond)
		switch dice.IntN(6) {
		case 0:
			server.Kill()
			r.pass(time.Duration(dice.IntN(1000)) * time.Millisecond)
			server.Start(t)
		case 1:
			postgres.Stop(t)
			r.pass(time.Duration(dice.IntN(1000)) * time.Millisecond)
			postgres.Start(t)
		case 2:
			writers.Kill()
			writers = platform()
		case 3:
			i := dice.IntN(len(relays))
			relays[i].Freeze()
			r.pass(time.Duration(dice.IntN(1500)) * time.Millisecond)
			relays[i].Thaw()
		default:
			i := dice.IntN(len(relays))
			relays[i].Kill()
			relays[i] = relay(fmt.Sprint("relay-", n))
		}
	}
	writers.Kill()
	testkit.Eventually(t, "the database to have ended what the platform had begun", func() bool {
		var busy int
		err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = '' AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL").Scan(&busy)
		return err == nil && busy == 0
	})
	testkit.Eventually(t, "the outbox to be empty", func() bool {
		var rows int
		err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM extsync_outbox").Scan(&rows)
		return err == nil && rows == 0
	})
	for _, one := range relays {
		one.Terminate()
		if code, err := one.ExitCode(testkit.Patience); err != nil || code != 0 {
			t.Errorf("%s ended with %d, %v", one.Name, code, err)
		}
	}
	r.heldAgainst(db)
}

// openPlatform opens the platform's database and makes its tables.
func openPlatform(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("pgx", dsn)
	testkit.Must(t, err)
	t.Cleanup(func() { _ = db.Close() }) // the server ends with the test
	ddl, err := outbox.DDL(outbox.Postgres)
	testkit.Must(t, err)
	for _, text := range []string{ddl, platformDDL} {
		_, err := db.ExecContext(t.Context(), text)
		testkit.Must(t, err)
	}
	return db
}

// A committed version, and the number that only its transaction has written.
type committed struct{ version, nonce int64 }

// heldAgainst compares what the broker holds with what the platform has committed.
func (r *rig) heldAgainst(db *sql.DB) {
	r.t.Helper()
	truth := map[string][]committed{}
	rows, err := db.QueryContext(r.t.Context(), "SELECT key, version, nonce FROM committed ORDER BY key, version")
	r.must(err)
	defer func() { r.must(rows.Close()) }()
	total := 0
	for ; rows.Next(); total++ {
		var key string
		var c committed
		r.must(rows.Scan(&key, &c.version, &c.nonce))
		truth[key] = append(truth[key], c)
	}
	r.must(rows.Err())
	r.t.Logf("%d versions of %d keys were committed", total, len(truth))
	if total == 0 {
		r.t.Fatal("the platform has committed nothing")
	}
	every, latest := r.published("every"), r.published("latest")
	for key, want := range truth {
		got := every[key]
		if fmt.Sprint(got) != fmt.Sprint(want) {
			r.t.Errorf("%s: %d versions were published, %d committed: %v, want %v", key, len(got), len(want), got, want)
		}
		newest := want[len(want)-1]
		if held := latest[key]; len(held) != 1 || held[0] != newest {
			r.t.Errorf("%s: the newest version is %v, want %v", key, held, newest)
		}
	}
	if len(every) != len(truth) || len(latest) != len(truth) {
		r.t.Errorf("%d and %d keys were published, %d committed", len(every), len(latest), len(truth))
	}
}

// published returns what the stream of a channel holds, by key, in the order of the stream.
func (r *rig) published(channel string) map[string][]committed {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), wire.UpdateStream(r.names, events.ToChannel(channel)))
	r.must(err)
	state := stream.CachedInfo().State
	out := map[string][]committed{}
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		msg, err := stream.GetMsg(r.t.Context(), seq)
		if err != nil {
			continue // a newer version has replaced it
		}
		n, _ := testkit.Version(r.t, msg.Header.Get(events.HeaderVersion)).Int64()
		var payload struct{ Nonce int64 }
		r.must(json.Unmarshal(msg.Data, &payload))
		key := msg.Header.Get(events.HeaderSubject)
		out[key] = append(out[key], committed{n, payload.Nonce})
	}
	return out
}
