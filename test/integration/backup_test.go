package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// calls remembers which versions of each key a target was sent, in order.
type calls struct {
	mu  sync.Mutex
	got map[string][]string
}

func (c *calls) of(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.got[key], " ")
}

// The procedure of docs/operations.md for a single server: its directory is
// copied while it is stopped, is lost, and is brought back; the platform publishes
// what has changed since, and only then the workers start. No update is lost, none
// goes backwards at a target that compares nothing, and what was delivered before
// the backup is not delivered again.
func TestBackupAndRestoreOfAServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	to := calls{got: map[string][]string{}}
	s.apply(target(t, func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("ce-subject")
		if key == "refused" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			return
		}
		to.mu.Lock()
		defer to.mu.Unlock()
		to.got[key] = append(to.got[key], r.Header.Get("ce-entityversion"))
	}))
	const calendar, db = "appointment_calendar", "erp_db"
	push := func(channel, key string, version int, more ...string) {
		t.Helper()
		e := s.extsync(append([]string{"push", channel, key, fmt.Sprint(version), "--data", fmt.Sprintf(`{"v":%d}`, version)}, more...)...).run(t)
		if e.code != cli.ExitOK && key != "refused" {
			t.Fatalf("push: %+v", e)
		}
	}
	worker := s.worker()
	for _, key := range []string{"same", "changed"} {
		push(calendar, key, 1, "--wait", "30s")
		push(db, key, 1, "--wait", "30s")
	}
	push(calendar, "refused", 1, "--wait", "30s")
	testkit.Eventually(t, "the letter", func() bool { return len(s.letters().Entries) == 1 })
	s.env = append(s.env, "EXTSYNC_ADMIN_KEY="+adminKey(t))
	s.extsync("tokens", "create", "portal", "--scope", "read").ok(t)
	s.extsync("channels", "pause", calendar).ok(t)
	push(calendar, "waiting", 1)

	stop(t, worker)
	s.broker.Stop(t)
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(s.broker.Dir)); err != nil {
		t.Fatal(err)
	}

	// Life goes on after the backup.
	s.broker.Start(t)
	worker = s.worker()
	s.extsync("channels", "resume", calendar).ok(t)
	changedSince := func(more ...string) {
		t.Helper()
		for _, channel := range []string{calendar, db} {
			push(channel, "changed", 2, more...)
			push(channel, "waiting", 2, more...)
			push(channel, "new", 1, more...)
		}
	}
	testkit.Eventually(t, "what waited is delivered", func() bool { return to.of("waiting") == "1" })
	changedSince("--wait", "30s")
	stop(t, worker)
	s.broker.Stop(t)
	if err := os.RemoveAll(s.broker.Dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.broker.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}

	// The disk is gone. Restore, recover, publish, start.
	if err := os.CopyFS(s.broker.Dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	s.broker.Start(t)
	s.extsync("recover", "--yes").ok(t)
	s.extsync("channels", "resume", calendar).ok(t)
	var got getDoc
	s.extsync("get", calendar, "waiting", "--json").decode(t, &got)
	if c := got.Channels[0]; c.State != "pending" || c.Newest.Version != "1" {
		t.Errorf("restored: %+v", c)
	}
	changedSince()
	s.worker()
	for _, channel := range []string{calendar, db} {
		for _, at := range []string{"same@1", "changed@2", "waiting@2", "new@1"} {
			if s.extsync("wait", channel, at, "--timeout", "30s").run(t).code == cli.ExitOK {
				continue
			}
			t.Errorf("%s of %s was not delivered", at, channel)
		}
	}
	// At a target that checks nothing: each version it has had, none after a newer
	// one; the same twice where the backup did not know of the delivery.
	for key, want := range map[string]string{"same": "1", "changed": "1 2 2", "waiting": "1 2 2", "new": "1 1"} {
		if got := to.of(key); got != want {
			t.Errorf("%s: the target was sent the versions %s, want %s", key, got, want)
		}
	}
	var audit auditDoc
	s.extsync("audit", db, "--json").decode(t, &audit)
	if audit.Summary.Looked != 4 || len(audit.Findings) != 0 {
		t.Errorf("audit: %+v", audit)
	}
	if n := len(s.letters().Entries); n != 1 {
		t.Errorf("%d dead letters", n)
	}
	if out := s.extsync("tokens", "list").ok(t); !strings.Contains(out, "portal") {
		t.Errorf("tokens:\n%s", out)
	}
	if out := s.extsync("doctor").ok(t); strings.Contains(out, "problem") {
		t.Errorf("doctor:\n%s", out)
	}
}

// stored is a stream that was backed up.
type stored struct {
	Config, State json.RawMessage
	chunks        [][]byte
}

// backUp reads a stream as 'nats stream backup' does.
func backUp(t testing.TB, nc *nats.Conn, stream string) (b stored) {
	t.Helper()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the test ends soon
	ask(t, nc, "$JS.API.STREAM.SNAPSHOT."+stream, fmt.Appendf(nil, `{"deliver_subject":%q,"no_consumers":true,"chunk_size":1024}`, inbox), &b)
	for {
		msg, err := sub.NextMsg(testkit.Patience)
		if err != nil {
			t.Fatalf("back up %s: %v", stream, err)
		}
		if len(msg.Data) == 0 {
			return b
		}
		b.chunks = append(b.chunks, msg.Data)
		if msg.Reply != "" {
			if err := msg.Respond(nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// restore brings a stream back as 'nats stream restore' does.
func restore(t testing.TB, nc *nats.Conn, stream string, b stored) {
	t.Helper()
	req, err := json.Marshal(map[string]json.RawMessage{"config": b.Config, "state": b.State})
	if err != nil {
		t.Fatal(err)
	}
	var to struct {
		Subject string `json:"deliver_subject"`
	}
	ask(t, nc, "$JS.API.STREAM.RESTORE."+stream, req, &to)
	for _, chunk := range b.chunks {
		ask(t, nc, to.Subject, chunk, nil)
	}
	ask(t, nc, to.Subject, nil, nil)
}

// ask makes a request of the JetStream API.
func ask(t testing.TB, nc *nats.Conn, subject string, req []byte, into any) {
	t.Helper()
	msg, err := nc.Request(subject, req, testkit.Patience)
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	var failed struct{ Error *jetstream.APIError }
	if len(msg.Data) > 0 && (json.Unmarshal(msg.Data, &failed) != nil || failed.Error != nil) {
		t.Fatalf("%s: %s", subject, msg.Data)
	}
	if into != nil {
		decodeJSON(t, string(msg.Data), into)
	}
}

// The procedure of docs/operations.md for streams, by the requests that the nats
// command makes, in the role admin: it was not allowed to restore. The streams are
// backed up while a worker delivers.
func TestAdminBacksUpAndRestoresStreams(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal,cases")
	to := calls{got: map[string][]string{}}
	url := target(t, func(_ http.ResponseWriter, r *http.Request) {
		to.mu.Lock()
		defer to.mu.Unlock()
		key := r.Header.Get("ce-subject")
		to.got[key] = append(to.got[key], r.Header.Get("ce-entityversion"))
	})
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, url))
	admin := func(args ...string) program { return g.program(brokerconfig.Admin, "extsync", args...) }
	admin("channels", "apply", "-f", file).ok(t)
	worker := g.program(brokerconfig.Worker, "connector-worker", "run").start(t)
	push := func(key string, version int, more ...string) {
		t.Helper()
		args := append([]string{"push", "portal", key, fmt.Sprint(version), "--data", "{}"}, more...)
		g.program(brokerconfig.Publisher, "publisher", args...).ok(t)
	}
	push("same", 1, "--wait", "30s")
	push("changed", 1, "--wait", "30s")
	admin("channels", "pause", "portal").ok(t)
	push("waiting", 1)

	nc := g.client(brokerconfig.Admin).JS.Conn()
	streams := []string{ // in this order: the log may be newer than the ledger, never older
		"KV_sync_installation", "KV_sync_channels", "KV_sync_tokens", "KV_sync_letters", "SYNC_AUDIT", "KV_sync_progress", "KV_sync_ledger", "SYNC_DEAD", "SYNC_PARKED", "SYNC_OUTCOMES",
		"SYNC_UPD_cases", "SYNC_UPD_portal",
	}
	backup := map[string]stored{}
	for _, stream := range streams {
		backup[stream] = backUp(t, nc, stream)
	}
	admin("channels", "resume", "portal").ok(t)
	push("changed", 2, "--wait", "30s")
	push("waiting", 2, "--wait", "30s")

	stop(t, worker)
	for _, stream := range streams {
		ask(t, nc, "$JS.API.STREAM.DELETE."+stream, nil, nil)
		restore(t, nc, stream, backup[stream])
	}
	admin("channels", "apply", "-f", file).ok(t)
	admin("recover", "--yes").ok(t)
	for _, f := range []string{"channel.pause", "channel.resume"} {
		if out := admin("audit-log").ok(t); strings.Contains(out, f) != (f == "channel.pause") {
			t.Errorf("%s:\n%s", f, out)
		}
	}
	admin("channels", "resume", "portal").ok(t) // as it was when the backup was made
	push("changed", 2)
	push("waiting", 2)
	g.program(brokerconfig.Worker, "connector-worker", "run").start(t)
	for _, at := range []string{"same@1", "changed@2", "waiting@2"} {
		admin("wait", "portal", at, "--timeout", "30s").ok(t)
	}
	for key, want := range map[string]string{"same": "1", "changed": "1 2 2"} {
		if got := to.of(key); got != want {
			t.Errorf("%s: the target was sent the versions %s, want %s", key, got, want)
		}
	}
	if got := to.of("waiting"); got != "1 2 2" && got != "2 2" { // what waited can be overtaken
		t.Errorf("waiting: the target was sent the versions %s", got)
	}
}
