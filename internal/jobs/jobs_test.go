package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// runnerURL has this program run jobs of the broker there, as a process of its own.
	runnerURL = "EXTSYNC_TEST_RUNNER_URL"
	lease     = 4 * time.Second
)

func TestMain(m *testing.M) {
	if url := os.Getenv(runnerURL); url != "" {
		if err := runJobs(context.Background(), url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func connect(ctx context.Context, url string, tg *target) (*operate.Client, error) {
	cfg := config.Default()
	cfg.NATS.URL = url
	client, err := operate.Connect(ctx, cfg, zerolog.Nop())
	if err != nil {
		return nil, err
	}
	client.Catalog = connectors.NewCatalog(connectors.Kind{
		Name: "memory", Check: func([]byte) error { return nil },
		Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) { return tg, nil },
	})
	return client, nil
}

// runJobs is the process that is killed.
func runJobs(ctx context.Context, url string) error {
	client, err := connect(ctx, url, nil)
	if err != nil {
		return err
	}
	runner, err := client.JobRunner(ctx, zerolog.New(os.Stderr).Level(zerolog.InfoLevel))
	if err != nil {
		return err
	}
	runner.Lease = lease
	runner.Run(ctx)
	return nil
}

// A target is an external system in memory.
type target struct {
	mu      sync.Mutex
	refuses bool
	writes  map[string][]string // versions by key
}

func (tg *target) Apply(ctx context.Context, attempts []connectors.Attempt) []connectors.Result {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	out := make([]connectors.Result, len(attempts))
	for i, a := range attempts {
		if tg.refuses {
			out[i] = connectors.Failed(connectors.Conflict, "409", errors.New("no thanks"))
			continue
		}
		tg.writes[a.Key] = append(tg.writes[a.Key], a.Version.String())
		out[i] = connectors.Done()
	}
	return out
}

func (tg *target) Close(context.Context) error { return nil }

func (tg *target) set(refuses bool) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	tg.refuses = refuses
}

func (tg *target) total() (n int) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	for _, v := range tg.writes {
		n += len(v)
	}
	return n
}

type lab struct {
	*operate.Client
	t     *testing.T
	url   string
	tg    *target
	store *jobs.Store
	rest  func() // ends the worker
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, url: natstest.Run(t, natstest.Options{TCP: true}).URL(), tg: &target{writes: map[string][]string{}}}
	var err error
	l.Client, err = connect(t.Context(), l.url, l.tg)
	testkit.Must(t, err)
	t.Cleanup(l.Close)
	testkit.Must(t, l.Provision(t.Context()))
	registry, err := l.Registry(t.Context())
	testkit.Must(t, err)
	_, err = registry.Put(t.Context(), channels.Config{Name: "cal", Connector: channels.Connector{Kind: "memory"}, Retry: channels.Retry{MaxAttempts: 1}}, 0)
	testkit.Must(t, err)
	l.store, err = l.Jobs(t.Context())
	testkit.Must(t, err)
	l.rest = l.background(func(ctx context.Context) error {
		w, err := delivery.New(delivery.Options{JS: l.JS, Catalog: l.Catalog, ID: "w1", DrainTimeout: 5 * time.Second})
		if err != nil {
			return err
		}
		return w.Run(ctx)
	})
	return l
}

// background runs something until the test ends, or stop is called.
func (l *lab) background(run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
	l.t.Cleanup(stop)
	return stop
}

// runs has this process run jobs, too.
func (l *lab) runs() (stop func()) {
	return l.background(func(ctx context.Context) error {
		runner, err := l.JobRunner(ctx, zerolog.Nop())
		if err != nil {
			return err
		}
		runner.Lease = lease
		runner.Run(ctx)
		return nil
	})
}

// process starts a process that runs jobs.
func (l *lab) process() *exec.Cmd {
	l.t.Helper()
	cmd := exec.CommandContext(l.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), runnerURL+"="+l.url)
	cmd.Stderr = os.Stderr
	testkit.Must(l.t, cmd.Start())
	l.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be gone
		_ = cmd.Wait()
	})
	return cmd
}

// letters makes dead letters of n keys, of which some have two.
func (l *lab) letters(n, two int) {
	l.t.Helper()
	l.tg.set(true)
	pub, err := l.Publisher(l.t.Context())
	testkit.Must(l.t, err)
	publish := func(version int64, keys int) {
		var updates iter.Seq[events.Update] = func(yield func(events.Update) bool) {
			for i := range keys {
				if !yield(events.Update{Channel: "cal", Key: fmt.Sprintf("k%05d", i), Version: testkit.Number(version), Payload: []byte(`{}`)}) {
					return
				}
			}
		}
		for _, err := range pub.PublishAll(l.t.Context(), updates, 256) {
			testkit.Must(l.t, err)
		}
	}
	publish(1, n)
	l.open(n)
	publish(2, two)
	l.open(n + two)
	l.tg.set(false)
}

// open waits until so many letters are open.
func (l *lab) open(n int) {
	l.t.Helper()
	store, err := l.DeadLetters(l.t.Context())
	testkit.Must(l.t, err)
	testkit.Eventually(l.t, fmt.Sprint(n, " open letters"), func() bool {
		count, err := store.Faster().Count(l.t.Context(), deadletters.Filter{})
		testkit.Must(l.t, err)
		return count == n
	})
}

// ended waits until a job has ended, as long as it goes on.
func (l *lab) ended(id string) (job jobs.Job) {
	l.t.Helper()
	for done := -1; ; done = job.Done {
		job = l.when(id, fmt.Sprintf("more than %d done, or the end of the job", done), func(j jobs.Job) bool { return j.State.Over() || j.Done > done })
		if job.State.Over() {
			return job
		}
	}
}

func (l *lab) when(id, what string, is func(jobs.Job) bool) (job jobs.Job) {
	l.t.Helper()
	testkit.Eventually(l.t, what, func() bool {
		var err error
		job, err = l.store.Get(l.t.Context(), id)
		testkit.Must(l.t, err)
		return is(job)
	})
	return job
}

var everyLetter = jobs.Letters{Channel: "cal"} //nolint:gochecknoglobals // a constant that the language cannot express as one

// A runner that is killed leaves a job to the next one, which does nothing twice and leaves
// nothing out; and what a dry run says is what happens.
func TestAJobOutlivesItsRunner(t *testing.T) {
	n, two := 2000, 50
	if os.Getenv("EXTSYNC_TEST_FULL") != "" {
		n = 10_000
	}
	l := newLab(t)
	l.letters(n, two)
	request := operate.JobRequest{Action: jobs.Replay, Letters: &everyLetter, Reason: "the target is mended"}
	plan, err := l.PlanJob(t.Context(), request)
	testkit.Must(t, err)
	planned, sum := map[string]int{}, 0
	for _, o := range plan.Outcomes {
		planned[o.Outcome] = o.Count
		sum += o.Count
	}
	if sum != plan.Total || sum != n+two || !plan.Exact || plan.GoesBack != 0 || planned["superseded"] != two || l.tg.total() != 0 {
		t.Fatalf("plan %+v", plan)
	}
	first := l.process()
	job, err := l.StartJob(t.Context(), request)
	testkit.Must(t, err)
	began := time.Now()
	killed := l.when(job.ID, "a part to be done", func(j jobs.Job) bool { return j.Done > n/4 })
	testkit.Must(t, first.Process.Kill())
	if killed.State.Over() {
		t.Fatalf("it was over before its runner was killed: %+v", killed)
	}
	at := time.Now()
	l.process()
	job = l.ended(job.ID)
	t.Logf("killed with %d of %d done after %v; the rest took %v with the lease: %v; rate %v", killed.Done, killed.Total, at.Sub(began), time.Since(at), job.Out, job.Rate)
	if job.State != jobs.Done || job.Done != n+two || !maps.Equal(job.Out, planned) || len(job.Failures) > 0 {
		t.Errorf("job %+v; planned %v", job, planned)
	}
	if got := l.tg.total(); got != n {
		t.Errorf("the target got %d, want %d", got, n)
	}
	for i := range n {
		key, want := fmt.Sprintf("k%05d", i), "1"
		if i < two {
			want = "2"
		}
		if got := l.tg.writes[key]; len(got) != 1 || got[0] != want {
			t.Errorf("the target got %v of %s, want %s", got, key, want)
		}
	}
	l.open(0)
}

func TestStopAndTwoRunners(t *testing.T) {
	const n = 1000
	l := newLab(t)
	l.letters(n, 0)
	l.runs()
	l.runs()
	job, err := l.StartJob(t.Context(), operate.JobRequest{Action: jobs.Replay, Letters: &everyLetter})
	testkit.Must(t, err)
	l.when(job.ID, "a part to be done", func(j jobs.Job) bool { return j.Done > 0 })
	_, err = l.StopJob(t.Context(), job.ID, "enough")
	testkit.Must(t, err)
	stopped := l.ended(job.ID)
	if stopped.State != jobs.Stopped || stopped.Done != l.tg.total() || stopped.Done >= n {
		t.Errorf("%+v; the target got %d", stopped, l.tg.total())
	}
	if _, err := l.StopJob(t.Context(), job.ID, ""); !errors.Is(err, jobs.ErrOver) {
		t.Errorf("stopped again: %v", err)
	}
	l.open(n - stopped.Done)
	plan, err := l.PlanJob(t.Context(), operate.JobRequest{Action: jobs.Discard, Letters: &everyLetter})
	testkit.Must(t, err)
	job, err = l.StartJob(t.Context(), operate.JobRequest{Action: jobs.Discard, Letters: &everyLetter, Reason: "old"})
	testkit.Must(t, err)
	job = l.ended(job.ID)
	if job.State != jobs.Done || job.Out["discarded"] != n-stopped.Done || plan.Total != job.Done || len(job.Out) != 1 {
		t.Errorf("%+v, planned %+v", job, plan)
	}
	l.open(0)
	page, err := l.store.List(t.Context(), 1, "", nil)
	if err != nil || len(page.Jobs) != 1 || page.Jobs[0].ID != job.ID || page.Next == "" {
		t.Errorf("%+v, %v", page, err)
	}
}

// A job waits while its channel is paused, and ends where the channel is deleted.
func TestAJobOfAPausedAndOfADeletedChannel(t *testing.T) {
	const n = 20
	l := newLab(t)
	l.letters(n, 0)
	store, err := l.DeadLetters(t.Context())
	testkit.Must(t, err)
	for from, want := range map[uint64]int{1: n, 1000: 0} {
		if left, err := store.Left(t.Context(), deadletters.Filter{Channel: "cal"}, from); err != nil || left != want {
			t.Errorf("from %d on there are %d letters, %v", from, left, err)
		}
	}
	_, err = l.Change(t.Context(), "cal", operate.Pause)
	testkit.Must(t, err)
	paused, err := l.PlanJob(t.Context(), operate.JobRequest{Action: jobs.Replay, Letters: &everyLetter})
	if err != nil || paused.Note == "" || paused.Total != n || len(paused.Outcomes) != 1 || paused.Outcomes[0].Outcome != "delivered" {
		t.Errorf("a plan while it is paused: %+v, %v", paused, err)
	}
	stop := l.runs()
	job, err := l.StartJob(t.Context(), operate.JobRequest{Action: jobs.Replay, Letters: &everyLetter})
	testkit.Must(t, err)
	l.when(job.ID, "it to wait", func(j jobs.Job) bool { return j.Waits != "" })
	stop() // and another runner takes it
	l.runs()
	_, err = l.Change(t.Context(), "cal", operate.Resume)
	testkit.Must(t, err)
	if job = l.ended(job.ID); job.State != jobs.Done || job.Out["delivered"] != n {
		t.Errorf("%+v", job)
	}
	l.tg.set(true)
	pub, err := l.Publisher(t.Context())
	testkit.Must(t, err)
	_, ack, err := pub.Request(t.Context(), events.Update{Channel: "cal", Key: "k", Version: testkit.Number(1), Payload: []byte(`{}`)})
	if err != nil || ack.Outcome != events.Conflict {
		t.Fatalf("%+v, %v", ack, err)
	}
	l.open(1)
	registry, err := l.Registry(t.Context())
	testkit.Must(t, err)
	e, err := registry.Get(t.Context(), "cal")
	testkit.Must(t, err)
	_, err = registry.Delete(t.Context(), "cal", e.Revision)
	testkit.Must(t, err)
	plan, err := l.PlanJob(t.Context(), operate.JobRequest{Action: jobs.Replay, Letters: &jobs.Letters{}})
	testkit.Must(t, err)
	job, err = l.StartJob(t.Context(), operate.JobRequest{Action: jobs.Replay, Letters: &jobs.Letters{}})
	testkit.Must(t, err)
	if job = l.ended(job.ID); job.State != jobs.Done || job.Out["channel_deleted"] != 1 || len(plan.Outcomes) != 1 || plan.Outcomes[0].Outcome != "channel_deleted" {
		t.Errorf("%+v, planned %+v", job, plan)
	}
}

// A record that comes back from older files of the broker is not gone on with: whether it is
// still wanted is for a person to say.
func TestAJobOfAnotherIncarnationEnds(t *testing.T) {
	l := newLab(t)
	l.letters(3, 0)
	job, err := l.StartJob(t.Context(), operate.JobRequest{Action: jobs.Discard, Letters: &everyLetter, Reason: "old"})
	testkit.Must(t, err)
	l.rest() // it would end by itself soon, with an error
	_, _, err = wire.RenewIncarnation(t.Context(), l.JS, l.Names)
	testkit.Must(t, err)
	l.process()
	if job = l.ended(job.ID); job.State != jobs.Stopped || job.Done != 0 || len(job.Failures) != 1 {
		t.Errorf("%+v", job)
	}
	l.open(3)
}
