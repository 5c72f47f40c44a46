package integration

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// copyRunning copies the directory of a server that writes to it. Files that go away
// meanwhile are left out, and each is as it was at another moment.
func copyRunning(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		src, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer func() { _ = src.Close() }() // it was read
		dst, err := os.Create(filepath.Join(to, rel))
		if err != nil {
			return err
		}
		_, err = io.Copy(dst, src)
		return errors.Join(err, dst.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A broker is copied while it runs under load, runs on, dies, and comes back from the
// copy, with workers and publishers that know better. After 'extsync recover' all of
// them stop by themselves; new ones lose nothing that the platform publishes again and
// take no version back. What the copy never had cannot be delivered: an update whose
// newer version was published does not come again, and counts as never published.
func TestBrokerRestoredFromAnOlderCopyUnderLoad(t *testing.T) {
	t.Parallel()
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		t.Run(string(mode), func(t *testing.T) {
			lost := sized(t, "what the copy lacks", 3*time.Second, 3*time.Minute)
			crew := faults.NewCrew(t)
			server := faults.StartServer(t, crew, natsServer(t))
			r := newRigAt(t, crew, server.URL, 1)
			// Guarded: calls that were under way when the broker died are for it to refuse.
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{Guarded: true, Seed: 31})
			tg.Cause(tenPercent())
			r.channel("c", mode, "http", tg.Connector())
			old := []*faults.Process{r.worker("old0"), r.worker("old1")}
			first := load{channel: "c", keys: 60, updates: 300 * int(2*time.Second+lost) / int(time.Second), over: 2*time.Second + lost}
			p := r.publish(first)
			writing(r, tg, "old0")
			r.pass(time.Second)
			saved := t.TempDir()
			copyRunning(t, server.Data(), saved)
			before := p.wait(r)
			r.pass(500 * time.Millisecond) // some of it is delivered

			server.Kill()
			r.must(os.RemoveAll(server.Data()))
			r.must(os.CopyFS(server.Data(), os.DirFS(saved)))
			server.Start(t)
			var did struct{ Before, After wire.Incarnation }
			program{name: "extsync", args: []string{"recover", "--yes", "--json"}, env: []string{"EXTSYNC_NATS_URL=" + server.URL}}.decode(t, &did)
			if did.Before == 0 || did.After <= did.Before {
				t.Errorf("recover: %+v", did)
			}
			for _, w := range old {
				code, err := w.ExitCode(testkit.Patience)
				r.must(err)
				if code != cli.ExitBroker || !strings.Contains(w.Log(), "extsync recover") {
					t.Errorf("worker %s ended with exit code %d:\n%s", w.Name, code, w.LogTail(1<<10))
				}
			}
			r.workers = nil
			newest := newestOf(before)
			testkit.Eventually(t, "the old publisher to refuse", func() bool {
				_, err := r.pub.Publish(t.Context(), update("c", newest[0].Key, first.from+1, 0))
				return errors.Is(err, events.ErrIncarnation)
			})

			r.reopen()
			accepted := republish(r, before, newest)
			r.worker("new0")
			r.worker("new1")
			after := r.publish(load{channel: "c", keys: 60, updates: 600, over: 2 * time.Second, from: 1_000_000})
			accepted = append(accepted, after.wait(r)...)
			r.check("c", mode, accepted, func() (faults.History, error) { return tg.History(), nil })
		})
	}
}

// reopen makes the rig's clients anew.
func (r *rig) reopen() {
	r.t.Helper()
	var err error
	r.registry, err = channels.OpenRegistry(r.t.Context(), r.js, r.names, kinds.All())
	r.must(err)
	r.pub, err = publish.New(r.t.Context(), r.js, r.names)
	r.must(err)
}

// newestOf returns the newest accepted update of each key.
func newestOf(accepted []faults.Accepted) []faults.Accepted {
	byKey := map[string]faults.Accepted{}
	for _, a := range accepted {
		have, ok := byKey[a.Key]
		if c, err := a.Version.Compare(have.Version); !ok || err == nil && c > 0 {
			byKey[a.Key] = a
		}
	}
	var out []faults.Accepted
	for _, a := range byKey {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b faults.Accepted) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// republish does what the platform does after a restore: it publishes the current
// version of every key. Older ones count if the copy had them.
func republish(r *rig, before, newest []faults.Accepted) []faults.Accepted {
	r.t.Helper()
	out := slices.Clone(before)
	for i := range out {
		out[i].Uncertain = true
	}
	for _, a := range newest {
		n, _ := a.Version.Int64()
		u := update("c", a.Key, n, 0)
		uncertain, err := publishUntilAnswered(r.t.Context(), r.pub, u)
		r.must(err)
		for i := range out {
			if out[i].Key == a.Key && out[i].Version == a.Version {
				out[i].Uncertain = uncertain
			}
		}
	}
	return out
}

// The command says what it would do, does it once it is confirmed, and the audit log
// knows.
func TestRecoverCommand(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if e := s.extsync("recover", "--yes").run(t); e.code != cli.ExitBroker {
		t.Errorf("not provisioned: %+v", e)
	}
	s.apply(target(t, nil))
	if e := s.extsync("recover").run(t); e.code != cli.ExitUsage || !strings.Contains(e.err, "2 partitions of 2 channels") {
		t.Errorf("not confirmed: %+v", e)
	}
	out := s.extsync("recover", "--yes").ok(t)
	for _, want := range []string{"incarnation", "begin anew", "extsync doctor", "extsync resync"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	if out := s.extsync("audit-log").ok(t); !strings.Contains(out, "recover") {
		t.Errorf("audit log:\n%s", out)
	}
	if out := s.extsync("doctor").run(t).out; !strings.Contains(out, "no connector-worker") {
		t.Errorf("doctor:\n%s", out)
	}
}
