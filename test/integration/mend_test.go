package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A site with a worker and an API that run while streams disappear.
type mending struct {
	*rig
	tg      *faults.HTTPTarget
	work    *faults.Process
	serve   *faults.Process
	api     string
	files   string // directory with the channels' configurations
	env     []string
	storage []string // flags
	version int64
}

func newMending(t *testing.T) *mending {
	m := &mending{rig: newRig(t), tg: faults.NewHTTPTarget(t, faults.HTTPOptions{}), files: t.TempDir()}
	m.env = []string{"EXTSYNC_NATS_URL=" + m.url}
	m.storage = []string{"--storage-dead-bytes", "64MiB", "--storage-parked-bytes", "64MiB", "--storage-ack-bytes", "64MiB"}
	for name, mode := range map[string]channels.Mode{"cl": channels.Latest, "ce": channels.Every} {
		m.channel(name, mode, "http", m.tg.Connector(), func(c *channels.Config) { c.MaxBytes = 8 << 20 })
		text := program{name: "extsync", args: []string{"channels", "show", name}, env: m.env}.ok(t)
		m.must(os.WriteFile(filepath.Join(m.files, name+".yaml"), []byte(text), 0o600))
	}
	m.start("")
	return m
}

// start starts the worker and the API.
func (m *mending) start(suffix string) {
	m.t.Helper()
	m.work = m.worker("w0" + suffix)
	m.serve, m.api = m.publisher("p0" + suffix)
}

func (m *mending) extsync(args ...string) program {
	return program{name: "extsync", args: args, env: m.env}
}

// next publishes another version on each channel, over HTTP and by a publisher of
// this process that has run since before, and waits until the target has it.
func (m *mending) next(after string) {
	m.t.Helper()
	m.version++
	started := time.Now()
	for _, channel := range []string{"cl", "ce"} {
		u := events.Update{Channel: channel, Key: channel + "-go", Version: versioning.Must(versioning.Number(m.version)), Payload: fmt.Appendf(nil, `{"v":%d}`, m.version)}
		testkit.Eventually(m.t, "a receipt on "+channel+" after "+after, func() bool {
			_, err := m.pub.Publish(m.t.Context(), u)
			return err == nil
		})
		key := channel + "-http"
		body := fmt.Sprintf(`{"key":%q,"version":"%d","payload":{"v":%d}}`, key, m.version, m.version)
		var status int
		var answer string
		testkit.Eventually(m.t, "202 on "+channel+" after "+after, func() bool {
			status, answer = m.fetch(http.MethodPost, m.api+"/v1/channels/"+channel+"/updates", body)
			if status == http.StatusInternalServerError {
				m.t.Fatalf("after %s: %s", after, answer)
			}
			return status == http.StatusAccepted
		})
		for _, key := range []string{u.Key, key} {
			testkit.Eventually(m.t, "the delivery of "+key+" after "+after, func() bool {
				return m.tg.History().Held[key].Version == u.Version
			})
		}
	}
	m.t.Logf("after %s: delivered again in %s", after, time.Since(started).Round(time.Millisecond))
}

// Every stream and bucket that is gone is found by doctor, made again by
// 'doctor --fix' and by 'channels apply', and then running publishers and workers go
// on. Before, apply said "unchanged", and publishing stayed broken.
func TestEachStreamThatIsGoneIsMended(t *testing.T) {
	t.Parallel()
	m := newMending(t)
	m.next("the start")
	n := m.names
	streams := []string{
		wire.UpdateStream(n, events.ToChannel("cl")), wire.UpdateStream(n, events.ToChannel("ce")), wire.KVStream(wire.LedgerBucket(n)), wire.OutcomeStream(n), wire.DeadStream(n), wire.ParkedStream(n), wire.AckStream(n),
		wire.KVStream(wire.ProgressBucket(n)), wire.KVStream(wire.WorkersBucket(n)), wire.KVStream(wire.LeasesBucket(n)),
		wire.KVStream(wire.TokensBucket(n)), wire.KVStream(wire.IdempotencyBucket(n)), wire.AuditStream(n), wire.KVStream(wire.LettersBucket(n)), wire.KVStream(wire.JobsBucket(n)), wire.KVStream(wire.RegistryBucket(n)),
	}
	small := sized(t, "each stream by one way only", true, false)
	ways := []string{"doctor --fix", "channels apply"}
	for i, stream := range streams {
		for j, way := range ways {
			if small && i%2 != j { // each stream by one of the two
				continue
			}
			m.mended(stream, way)
		}
	}
}

func (m *mending) mended(stream, way string) {
	t := m.t
	t.Helper()
	m.must(m.js.DeleteStream(t.Context(), stream))
	found := m.extsync(append([]string{"doctor"}, m.storage...)...).run(t)
	if found.code != cli.ExitFound || !strings.Contains(found.out, stream+": is missing") {
		t.Errorf("doctor does not find that %s is gone (code %d):\n%s%s", stream, found.code, found.out, found.err)
	}
	apply := append([]string{"channels", "apply", "-f", m.files}, m.storage...)
	if stream != wire.KVStream(wire.RegistryBucket(m.names)) { // what is known of channels does not depend on the others
		for _, look := range [][]string{{"channels", "plan", "-f", m.files}, append(apply, "--dry-run")} {
			if e := m.extsync(look...).run(t); strings.Contains(e.out, "created") || !strings.Contains(e.out, stream) {
				t.Errorf("%v without %s, code %d: a channel that is there passes as new, or the stream is not named:\n%s%s", look, stream, e.code, e.out, e.err)
			}
		}
	}
	var e ended
	if way == "doctor --fix" {
		e = m.extsync(append([]string{"doctor", "--fix"}, m.storage...)...).run(t)
	} else {
		e = m.extsync(apply...).run(t)
	}
	if !strings.Contains(e.out, stream+": was gone, is made again empty") || e.code != 0 && e.code != cli.ExitFound {
		t.Fatalf("%s for %s: code %d\n%s%s", way, stream, e.code, e.out, e.err)
	}
	if strings.Contains(stream, "ledger") && !strings.Contains(e.out, "LEDGER IS LOST") {
		t.Errorf("it is not said that the guard is lost:\n%s", e.out)
	}
	if stream == wire.KVStream(wire.RegistryBucket(m.names)) && way == "doctor --fix" {
		after := m.extsync(append([]string{"doctor"}, m.storage...)...).run(t)
		if !strings.Contains(after.out, wire.UpdateStream(m.names, events.ToChannel("cl"))+": belongs to no channel") {
			t.Errorf("doctor does not see streams without channels:\n%s", after.out)
		}
		m.extsync(apply...).ok(t)
	}
	m.next(way + " of " + stream)
	after := m.extsync(append([]string{"doctor"}, m.storage...)...).run(t)
	if strings.Contains(after.out, "problem") {
		t.Errorf("after %s of %s:\n%s", way, stream, after.out)
	}
}

// The number of the installation is what tells sequences of now from those before: a
// process that it was taken from ends, and says that the bucket is gone.
func TestProcessesEndWithoutTheNumberOfTheInstallation(t *testing.T) {
	t.Parallel()
	m := newMending(t)
	m.next("the start")
	m.must(m.js.DeleteStream(t.Context(), wire.KVStream(wire.InstallationBucket(m.names))))
	for _, p := range []*faults.Process{m.work, m.serve} {
		code, err := p.ExitCode(testkit.Patience)
		if err != nil || code != cli.ExitBroker || !strings.Contains(p.Log(), "sync_installation is gone; 'extsync doctor --fix'") {
			t.Errorf("%s: exit code %d (%v), want %d, and what to do:\n%s", p.Name, code, err, cli.ExitBroker, p.LogTail(2<<10))
		}
	}
	e := m.extsync(append([]string{"doctor", "--fix"}, m.storage...)...).run(t)
	if !strings.Contains(e.out, "start workers and publishers again") {
		t.Errorf("doctor --fix (code %d) does not say what to do:\n%s%s", e.code, e.out, e.err)
	}
	m.start("again")
	m.reopen()
	m.next("doctor --fix")
}

// What is remembered of an import belongs to the stream that has it: at a stream that
// was made anew, or another broker, nothing was published, and the exit code was 0.
func TestImportBeginsAnewAtAnotherStream(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply("http://127.0.0.1:1/x")
	var text strings.Builder
	const lines = 200
	for i := range lines {
		fmt.Fprintf(&text, `{"key":"k%d","version":1,"payload":%d}`+"\n", i, i)
	}
	input := s.file("in.ndjson", text.String())
	run := func(stored int64, says string) {
		t.Helper()
		e := s.extsync("import", "erp_db", input, "--json").run(t)
		var doc importDoc
		decodeJSON(t, e.out, &doc)
		if e.code != 0 || doc.Stored != stored || !strings.Contains(e.err, says) || says == "" && e.err != "" {
			t.Errorf("code %d, %+v, said %q; want %d stored, and %q", e.code, doc, e.err, stored, says)
		}
	}
	run(lines, "")
	run(0, "nothing is left to publish: all 200 lines")
	if err := s.broker.JS.DeleteStream(t.Context(), "SYNC_UPD_erp_db"); err != nil {
		t.Fatal(err)
	}
	refused(t, s.extsync("import", "erp_db", input), cli.ExitUnknown, "its stream is gone", "channels apply")
	s.apply("http://127.0.0.1:1/x")
	run(lines, "begins anew: an earlier import came to line 200")

	// After a restore the stream may be older than the file beside the input.
	s.extsync("recover", "--yes").ok(t)
	e := s.extsync("import", "erp_db", input).run(t)
	if e.code != 0 || !strings.Contains(e.err, "begins anew: an earlier import came to line 200") {
		t.Errorf("after a restore: code %d, said %q", e.code, e.err)
	}

	other := newSite(t)
	other.apply("http://127.0.0.1:1/x")
	s.env = other.env
	run(lines, "begins anew")
}

// A file that does not speak of pausing leaves a channel as its operators have it.
// Before, apply resumed it without a word.
func TestApplyLeavesAPauseToTheOperators(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	config := func(name, more string) string {
		return s.file(name, "channels: [{name: a, "+more+"connector: {kind: http, config: {url: 'https://a.example/x'}}}]")
	}
	silent, other := config("silent.yaml", ""), config("other.yaml", "concurrency: 3, ")
	on, off := config("on.yaml", "paused: true, "), config("off.yaml", "paused: false, ")
	state := func(step, want string) {
		t.Helper()
		var doc statusDoc
		s.extsync("status", "a", "--json", "--interval", "200ms").decode(t, &doc)
		if got := doc.Channels[0].State; got != want {
			t.Errorf("%s: the channel is %s, want %s", step, got, want)
		}
	}
	apply := func(file string, says ...string) {
		t.Helper()
		out := s.extsync("channels", "apply", "-f", file).ok(t)
		for _, want := range says {
			if !strings.Contains(out, want) {
				t.Errorf("apply says %q, not %q", out, want)
			}
		}
	}
	apply(silent, "a: created\n")
	state("new", "active")
	s.extsync("channels", "pause", "a").ok(t)
	apply(silent, "a: unchanged, stays paused", "channels resume a")
	state("same file", "paused")
	if e := s.extsync("channels", "plan", "-f", other).run(t); e.code != cli.ExitFound || !strings.Contains(e.out, "a: changed, stays paused") || strings.Contains(e.out, "  paused") {
		t.Errorf("plan: %d %s", e.code, e.out)
	}
	apply(other, "a: changed, stays paused")
	state("another field", "paused")
	if e := s.extsync("channels", "plan", "-f", off).run(t); e.code != cli.ExitFound || !strings.Contains(e.out, "paused: true -> false") {
		t.Errorf("plan of an explicit resume: %d %s", e.code, e.out)
	}
	apply(off, "a: changed, resumed as the file says")
	state("paused: false", "active")
	apply(on, "a: changed, paused as the file says")
	state("paused: true", "paused")
	s.extsync("channels", "resume", "a").ok(t)
	apply(silent, "a: unchanged\n")
	state("resumed by hand", "active")
}

// Several who publish the same update at the same moment to a cluster all get a
// receipt. Before, 47 of 900 got HTTP 500, from the broker's 10158.
func TestPublishedAtOnceBySeveral(t *testing.T) {
	t.Parallel()
	crew := faults.NewCrew(t)
	servers := faults.StartCluster(t, crew, natsServer(t), 3)
	r := newRigAt(t, crew, faults.URLs(servers), len(servers))
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	r.channel("c", channels.Latest, "http", tg.Connector())
	var apis []string
	for i := range 3 { // each has its own cache and its own order of requests
		_, url := r.publisherAt(i, servers)
		apis = append(apis, url)
	}
	updates, each := sized(t, "updates", 30, 100), 9
	type answer struct {
		status int
		text   string
	}
	counts := map[int]int{}
	for i := range updates {
		body := fmt.Sprintf(`{"key":"k%d","version":"1","payload":{"v":%d}}`, i, i)
		answers := make(chan answer, each)
		start := make(chan struct{})
		for j := range each {
			go func() {
				<-start
				status, text := r.fetch(http.MethodPost, apis[j%len(apis)]+"/v1/channels/c/updates", body)
				answers <- answer{status, text}
			}()
		}
		close(start)
		for range each {
			a := <-answers
			counts[a.status]++
			if a.status == http.StatusInternalServerError || a.status == http.StatusConflict {
				t.Errorf("update %d: %d %s", i, a.status, a.text)
			}
		}
	}
	t.Logf("answers by status: %v", counts)
	if counts[http.StatusAccepted] < updates*each*9/10 {
		t.Errorf("only %d of %d were accepted: %v", counts[http.StatusAccepted], updates*each, counts)
	}
	stream, err := r.js.Stream(t.Context(), wire.UpdateStream(r.names, events.ToChannel("c")))
	r.must(err)
	if last := stream.CachedInfo().State.LastSeq; last != uint64(updates) { //nolint:gosec // not negative
		t.Errorf("%d updates were stored %d times", updates, last)
	}
}

// publisherAt starts an API on one server of a cluster.
func (r *rig) publisherAt(i int, servers []*faults.Server) (*faults.Process, string) {
	all := r.url
	defer func() { r.url = all }()
	r.url = servers[i].URL
	return r.publisher(fmt.Sprint("p", i))
}

// Apply waits while a cluster has no leader that could decide anything.
func TestApplyWaitsForALeader(t *testing.T) {
	t.Parallel()
	crew := faults.NewCrew(t)
	servers := faults.StartCluster(t, crew, natsServer(t), 3)
	servers[0].Kill()
	servers[1].Kill()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(file, []byte("channels: [{name: a, connector: {kind: http, config: {url: 'https://a.example/x'}}}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	apply := program{
		name: "extsync", args: []string{"channels", "apply", "-f", file, "--storage-replicas", "3", "--log-level", "warn"},
		env: []string{"EXTSYNC_NATS_URL=" + servers[2].URL},
	}.start(t)
	// It says that it waits once a whole step has failed, which may be after the leader is
	// back: what counts is that it does not give up meanwhile.
	select {
	case <-apply.done:
		t.Fatalf("it gave up:\n%s", apply.stderr())
	case <-time.After(10 * time.Second):
	}
	servers[0].Start(t)
	servers[1].Start(t)
	if code := apply.wait(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, apply.stderr())
	}
	r := newRigAt(t, crew, faults.URLs(servers), 3)
	if _, err := r.js.Stream(t.Context(), "SYNC_UPD_a"); err != nil {
		t.Errorf("the channel's stream: %v", err)
	}
}
