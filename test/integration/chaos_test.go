package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// What make chaos sets: the seed of the faults, how many minutes, and a file for
// the line that says what there was.
const (
	chaosSeed    = "EXTSYNC_CHAOS_SEED"
	chaosMinutes = "EXTSYNC_CHAOS_MINUTES"
	chaosSummary = "EXTSYNC_CHAOS_SUMMARY"
)

// Any mix of faults, one round after the other: at the end of each everything
// heals, no partition stands still, all settles and is checked, the rounds before
// included. The seed decides which faults each round has, in which order; how many
// there is time for, and what they meet, is up to the machine.
func TestChaos(t *testing.T) {
	t.Parallel()
	seed := numberFrom(t, chaosSeed, 1)
	length := time.Duration(numberFrom(t, chaosMinutes, sized(t, "minutes", 0.25, 2)) * float64(time.Minute))
	t.Logf("%s=%v %s=%v", chaosSeed, seed, chaosMinutes, length.Minutes())
	c := newChaos(t, uint64(seed))
	for ends := time.Now().Add(length); time.Now().Before(ends); {
		c.round(ends)
	}
	summary := fmt.Sprintf("chaos: seed %v: %d updates, %d faults, %d checks, no violation", seed, c.updates, c.faults, c.checks)
	t.Log(summary)
	if path := os.Getenv(chaosSummary); path != "" {
		if err := os.WriteFile(path, []byte(summary+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func numberFrom(t testing.TB, variable string, otherwise float64) float64 {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 0 {
		t.Fatalf("%s: %q is not a number of at least 0", variable, text)
	}
	return n
}

// chaos is a deployment and what breaks it.
type chaos struct {
	*rig
	seed     uint64
	dice     *rand.Rand // of the round
	server   *faults.Server
	proxy    *faults.Proxy // between worker 0 and the broker
	targets  []*faults.HTTPTarget
	channels []*chaosChannel
	workers  []*faults.Process // nil: it has left
	absences []faults.Absence  // by the clock of the first target

	rounds, started         int
	updates, faults, checks int
}

type chaosChannel struct {
	name       string
	from       events.Route // where its updates are published
	mode       channels.Mode
	partitions int
	target     recorder
	accepted   []faults.Accepted
}

func newChaos(t testing.TB, seed uint64) *chaos {
	t.Helper()
	crew := faults.NewCrew(t)
	server := faults.StartServer(t, crew, natsServer(t))
	c := &chaos{
		rig: newRigAt(t, crew, server.URL, 1), seed: seed,
		server: server, proxy: faults.NewProxy(t, server.URL[len("nats://"):]), workers: make([]*faults.Process, 3),
	}
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		// Guarded: what a frozen worker had on the wire is for the target to refuse.
		tg := faults.NewHTTPTarget(t, faults.HTTPOptions{Guarded: true, Seed: seed})
		c.targets = append(c.targets, tg)
		c.add("http-"+string(mode), mode, "http", tg.Connector(), func() (faults.History, error) {
			h := tg.History()
			h.Absences = c.absences
			return h, nil
		})
		db := faults.NewSQLiteTarget(t)
		c.add("sql-"+string(mode), mode, "sql", db.Connector(), func() (faults.History, error) { return db.History(t.Context()) })
	}
	// A topic that two channels read, of which one has another number of partitions.
	_, err := c.registry.PutTopic(t.Context(), channels.Topic{Name: "shared", MaxBytes: 256 << 20}, 0)
	c.must(err)
	for _, partitions := range []int{1, 4} {
		db := faults.NewSQLiteTarget(t)
		c.add(fmt.Sprint("shared-", partitions), channels.Latest, "sql", db.Connector(), func() (faults.History, error) { return db.History(t.Context()) },
			func(cfg *channels.Config) { cfg.From, cfg.Partitions = &channels.From{Topic: "shared"}, partitions })
	}
	return c
}

func (c *chaos) add(name string, mode channels.Mode, kind string, connector map[string]any, target recorder, change ...func(*channels.Config)) {
	c.channel(name, mode, kind, connector, change...)
	e, err := c.registry.Get(c.t.Context(), name)
	c.must(err)
	c.channels = append(c.channels, &chaosChannel{name: name, from: e.Config.Route(), mode: mode, partitions: e.Config.Partitions, target: target})
}

// hire starts worker i, in place of one that has ended.
func (c *chaos) hire(i int) {
	url := c.url
	if i == 0 {
		url = "nats://" + c.proxy.Addr()
	}
	c.workers[i] = c.workerAt(fmt.Sprintf("w%d", c.started), url)
	c.started++
}

// round lets updates flow while things break, then heals and checks.
func (c *chaos) round(ends time.Time) {
	c.t.Helper()
	c.rounds++
	c.dice = rand.New(rand.NewPCG(c.seed, uint64(c.rounds)))
	for i := range c.workers {
		c.hire(i)
	}
	for _, tg := range c.targets {
		tg.Cause(tenPercent())
	}
	const length, updates = 15 * time.Second, 1500
	loads := map[events.Route]*publishing{}
	for _, ch := range c.channels {
		if loads[ch.from] != nil { // the topic of another channel
			continue
		}
		l := load{topic: ch.from.Topic(), keys: 40, updates: updates, over: length, publishers: 2, seed: c.dice.Uint64(), prefix: fmt.Sprintf("r%d-", c.rounds)}
		if l.topic == "" {
			l.channel = ch.name
		}
		loads[ch.from] = c.publish(l)
	}
	until := time.Now().Add(length)
	if until.After(ends.Add(5 * time.Second)) {
		until = ends.Add(5 * time.Second)
	}
	c.pass(time.Second)
	for time.Now().Before(until) {
		c.strike()
		c.pass(time.Duration(c.dice.IntN(1000)) * time.Millisecond)
	}
	c.settle(loads)
}

// settle heals everything, waits until all is settled, and checks each channel.
func (c *chaos) settle(loads map[events.Route]*publishing) {
	c.t.Helper()
	c.proxy.Heal()
	if !slices.ContainsFunc(c.workers, func(w *faults.Process) bool { return w != nil }) {
		c.hire(0) // all have left
	}
	for _, l := range loads {
		c.updates += len(l.wait(c.rig))
	}
	for _, ch := range c.channels {
		ch.accepted = append(ch.accepted, loads[ch.from].wait(c.rig)...)
	}
	healed := time.Now() // and nothing is published any more
	for _, ch := range c.channels {
		c.progresses(ch.name, ch.partitions, ch.accepted, healed)
	}
	for _, ch := range c.channels {
		log := c.settled(ch.name, ch.accepted, settleWithin)
		testkit.Eventually(c.t, "the ledger to have what the log has", func() bool { return c.ledgerFollows(log) })
	}
	c.stopWorkers()
	for _, ch := range c.channels {
		c.verify(faults.NewLogReader(c.js, c.names, ch.name), ch.mode, ch.accepted, ch.target)
		c.checks++
	}
}

// strike breaks one thing for a while.
func (c *chaos) strike() {
	c.t.Helper()
	i := c.dice.IntN(len(c.workers))
	w := c.workers[i]
	tg := c.targets[c.dice.IntN(len(c.targets))]
	short := time.Duration(200+c.dice.IntN(1500)) * time.Millisecond
	long := leaseTTL + short
	what := ""
	switch fault := c.dice.IntN(11); fault {
	case 0, 2, 3, 9:
		if w == nil {
			c.hire(i)
			what = "worker " + c.workers[i].Name + " comes"
			break
		}
		what = c.strikeWorker(fault, i, long)
	case 1:
		what = "kill all workers"
		for _, w := range c.workers {
			if w != nil {
				w.Kill()
			}
		}
		for i := range c.workers {
			c.hire(i)
		}
	case 4:
		what = fmt.Sprintf("cut worker 0 off for %s", short)
		c.proxy.Cut()
		c.pass(short)
		c.proxy.Heal()
	case 5:
		what = fmt.Sprintf("silence between worker 0 and the broker for %s", long)
		c.proxy.Freeze()
		c.pass(long)
		c.proxy.Heal()
	case 6:
		what = fmt.Sprintf("a target hangs for %s", short)
		release := tg.Hold("")
		c.pass(short)
		release()
	case 7:
		what = fmt.Sprintf("a target is down for %s", short)
		tg.Cause(faults.Trouble{Errors: 0.5, Refused: 0.5})
		c.pass(short)
		tg.Cause(tenPercent())
	case 8, 10:
		what = fmt.Sprintf("the broker is dead for %s", short)
		c.server.Kill()
		c.pass(short)
		c.server.Start(c.t)
	}
	c.faults++
	c.t.Logf("round %d: %s", c.rounds, what)
}

// strikeWorker breaks one worker that is there.
func (c *chaos) strikeWorker(fault, i int, long time.Duration) (what string) {
	w := c.workers[i]
	switch fault {
	case 0:
		what = "kill worker " + w.Name
		w.Kill()
		c.hire(i)
	case 2:
		what = fmt.Sprintf("freeze worker %s for %s", w.Name, long)
		c.freeze(w, long)
	case 3:
		what = "replace worker " + w.Name
		w.Terminate()
		c.hire(i)
	case 9:
		what = "worker " + w.Name + " leaves"
		w.Terminate()
		c.workers[i] = nil // until a fault would hit it
	}
	return what
}

// freeze stops a worker for a while. The targets started within milliseconds of
// each other, so the clock of one serves for all.
func (c *chaos) freeze(w *faults.Process, d time.Duration) {
	from := c.targets[0].Now()
	w.Freeze()
	c.pass(d)
	c.absences = append(c.absences, faults.Absence{Worker: w.Name, From: from, To: c.targets[0].Now()})
	w.Thaw()
}
