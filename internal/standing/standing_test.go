package standing_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// scene is a channel of two partitions, each with a live worker, and updates that have
// waited for a while.
type scene struct {
	entry   channels.Entry
	backlog channels.Backlog
	crew    workers.Crew
}

func newScene() *scene {
	now := time.Now()
	s := &scene{entry: channels.Entry{Config: channels.Config{Name: "erp", Partitions: 2}}, crew: workers.Crew{At: now}}
	for p := range 2 {
		name := fmt.Sprint("w", p+1)
		s.crew.Beats = append(s.crew.Beats, workers.Beat{
			Record: workers.Record{Worker: name, Shards: []int{workers.Shard("erp", p)}}, At: now, Alive: true,
		})
		s.backlog.Partitions = append(s.backlog.Partitions, channels.PartitionBacklog{
			Undelivered: 3, Consumer: true, Oldest: now.Add(-time.Hour), Written: now.Add(-time.Second),
			Progress: channels.Progress{Worker: name, Circuit: "closed"},
		})
	}
	s.backlog.Undelivered, s.backlog.Oldest = 6, now.Add(-time.Hour)
	return s
}

// waits lets the worker of partition 1 say that something does not move.
func (s *scene) waits(code why.Code) {
	s.crew.Beats[1].Waits = []workers.Wait{{Channel: "other", Code: why.NoProgress}, {Channel: "erp", Code: code, Message: "so it is"}}
}

// TestReasons: each state of the deployment has its reason, its state in a word, and is
// an alarm or not.
func TestReasons(t *testing.T) {
	told := func(code why.Code) func(*scene) { return func(s *scene) { s.waits(code) } }
	part := func(change func(*channels.PartitionBacklog)) func(*scene) {
		return func(s *scene) { change(&s.backlog.Partitions[1]) }
	}
	both := func(a, b func(*scene)) func(*scene) { return func(s *scene) { a(s); b(s) } }
	nothing := part(func(p *channels.PartitionBacklog) { p.Undelivered = 0 })
	fresh := func(s *scene) { s.backlog.Partitions[1].Oldest = s.crew.At.Add(-time.Second) }
	dies := func(s *scene) { s.crew.Beats[1].Alive = false }
	silent := part(func(p *channels.PartitionBacklog) { p.Written = p.Oldest })

	for name, c := range map[string]struct {
		set    func(*scene)
		state  string
		code   why.Code // "": it moves
		worker string
		says   string
		alarm  bool
	}{
		"all moves":                     {func(*scene) {}, standing.Active, "", "", "", false},
		"paused":                        {func(s *scene) { s.entry.Config.Paused = new(true) }, standing.Paused, why.Paused, "", "paused", false},
		"paused, nobody has it":         {both(dies, func(s *scene) { s.entry.Config.Paused = new(true) }), standing.Paused, why.Paused, "", "", false},
		"deleted":                       {func(s *scene) { s.entry.Deleted = time.Now() }, standing.Deleted, why.Deleted, "", "deleted", false},
		"changing":                      {func(s *scene) { s.entry.Gated = true }, standing.Changing, why.Changing, "", "changed", false},
		"secret missing":                {told(why.SecretMissing), standing.Blocked, why.SecretMissing, "w2", "blocked at worker w2: so it is", true},
		"secret missing, nothing":       {both(nothing, told(why.SecretMissing)), standing.Blocked, why.SecretMissing, "w2", "", false},
		"connector cannot be opened":    {told(why.ConnectorFailed), standing.Blocked, why.ConnectorFailed, "w2", "", true},
		"credentials refused":           {told(why.CredentialsRefused), standing.Blocked, why.CredentialsRefused, "w2", "", true},
		"target not as it must be":      {told(why.Misconfigured), standing.Blocked, why.Misconfigured, "w2", "", true},
		"target refuses all":            {told(why.TargetRefuses), standing.Blocked, why.TargetRefuses, "w2", "", true},
		"target down":                   {told(why.CircuitOpen), standing.Stalled, why.CircuitOpen, "w2", "", true},
		"target down just now":          {both(fresh, told(why.CircuitOpen)), standing.Active, why.CircuitOpen, "w2", "", false},
		"target down, nothing":          {both(nothing, told(why.CircuitOpen)), standing.Active, why.CircuitOpen, "w2", "", false},
		"cannot be taken over":          {told(why.TakeoverFailed), standing.Stalled, why.TakeoverFailed, "w2", "", true},
		"no progress":                   {told(why.NoProgress), standing.Stalled, why.NoProgress, "w2", "", true},
		"broker full":                   {told(why.BrokerRefuses), standing.Stalled, why.BrokerRefuses, "w2", "", true},
		"rate limited":                  {told(why.RateLimited), standing.Active, why.RateLimited, "w2", "", false},
		"failing keys":                  {told(why.TargetError), standing.Active, why.TargetError, "w2", "", false},
		"parked keys":                   {told(why.Parked), standing.Active, why.Parked, "w2", "", false},
		"being taken over":              {told(why.TakingOver), standing.Active, why.TakingOver, "w2", "", false},
		"being opened":                  {told(why.Opening), standing.Active, why.Opening, "w2", "", false},
		"nobody has it":                 {dies, standing.Stalled, why.NoWorker, "", "none of the live workers has it or should have it: 1", true},
		"nobody has it, nothing":        {both(nothing, dies), standing.Active, why.NoWorker, "", "", false},
		"nobody has it just now":        {both(fresh, dies), standing.Active, why.NoWorker, "", "", false},
		"nobody has parked keys":        {both(part(func(p *channels.PartitionBacklog) { p.Parked, p.Oldest = 3, time.Time{} }), dies), standing.Stalled, why.NoWorker, "", "", true},
		"a lease that nobody renews":    {func(s *scene) { s.crew.Beats[0].Wants, s.crew.Beats[1].Shards = s.crew.Beats[1].Shards, nil }, standing.Stalled, why.NoWorker, "w1", "does not get its lease", true},
		"silence":                       {silent, standing.Stalled, why.NoProgress, "w2", "does not say why", true},
		"silence without a consumer":    {both(silent, part(func(p *channels.PartitionBacklog) { p.Consumer = false })), standing.Stalled, why.NoProgress, "w2", "no consumer", true},
		"silence, parked only":          {both(silent, part(func(p *channels.PartitionBacklog) { p.Parked = 3 })), standing.Active, "", "", "", false},
		"more than a record holds":      {both(silent, func(s *scene) { s.crew.Beats[1].More = 7 }), standing.Stalled, why.NoProgress, "w2", "7 channels wait there", true},
		"circuit by the progress":       {part(func(p *channels.PartitionBacklog) { p.Progress.Circuit, p.Progress.Reason = "open", "503" }), standing.Stalled, why.CircuitOpen, "w2", "503", true},
		"blocked by the progress":       {part(func(p *channels.PartitionBacklog) { p.Progress.Circuit, p.Progress.Reason = "blocked", "401" }), standing.Blocked, why.Misconfigured, "w2", "401", true},
		"circuit of a worker that left": {part(func(p *channels.PartitionBacklog) { p.Progress.Circuit, p.Progress.Worker = "open", "old" }), standing.Active, "", "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			c.set(s)
			got := standing.Judge(s.entry, s.backlog, s.crew)
			if got.State != c.state || got.Alarm() != c.alarm {
				t.Errorf("state %s, alarm %v; want %s, %v", got.State, got.Alarm(), c.state, c.alarm)
			}
			if c.code == "" {
				if len(got.Findings) > 0 {
					t.Errorf("findings where there is nothing to find: %+v", got.Findings)
				}
				return
			}
			if len(got.Findings) != 1 {
				t.Fatalf("not one finding: %+v", got.Findings)
			}
			f := got.Findings[0]
			if f.Code != c.code || f.Worker != c.worker || !strings.Contains(f.String(), c.says) || f.Advice == "" {
				t.Errorf("%s (%+v)", f.String(), f)
			}
			whole := c.code == why.Paused || c.code == why.Deleted || c.code == why.Changing
			if whole != (len(f.Partitions) == 0) || !whole && !slices.Equal(f.Partitions, []int{1}) {
				t.Errorf("partitions %v", f.Partitions)
			}
		})
	}
}

// A time at which the target is tried again is told once, and only by the worker that
// will do it: the record of one that has left named a time that was over.
func TestNextProbeIsOfTheOwner(t *testing.T) {
	next := time.Date(2030, 5, 1, 12, 0, 0, 0, time.UTC)
	s := newScene()
	p := &s.backlog.Partitions[1].Progress
	p.Circuit, p.Reason, p.NextProbe = "open", "503", next.UnixMilli()
	got := standing.Judge(s.entry, s.backlog, s.crew)
	if !got.NextProbe().Equal(next) || !got.Findings[0].Next.Equal(next) || got.Circuit() != "open" {
		t.Errorf("next probe %s, circuit %q, %+v; want %s everywhere", got.NextProbe(), got.Circuit(), got.Findings, next)
	}
	p.Worker = "old"
	if got := standing.Judge(s.entry, s.backlog, s.crew); !got.NextProbe().IsZero() || got.Circuit() != "closed" {
		t.Errorf("of a worker that left: next probe %s, circuit %q; want none, and that of the others", got.NextProbe(), got.Circuit())
	}
}

// TestNoWorkerAtAll: all partitions wait for the same reason, which is said once.
func TestNoWorkerAtAll(t *testing.T) {
	s := newScene()
	s.crew.Beats = nil
	got := standing.Judge(s.entry, s.backlog, s.crew)
	if len(got.Findings) != 1 || got.Findings[0].Undelivered != 6 || got.Circuit() != "" ||
		got.Findings[0].String() != "no_worker: no connector-worker is alive; 6 updates wait" {
		t.Errorf("not one finding of 6 updates without a worker: %+v", got.Findings)
	}
}
