package compare

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
)

// A measurer makes one measurement on a bed.
type measurer func(ctx context.Context, b *bed) (Measure, error)

// A Case compares two sides: B is extsync, A is what it has to keep up with.
type Case struct {
	Name string
	What string
	// Against names A. Empty: the floor.
	Against string
	// Means says in a sentence what the ratio means, with {share}, {times}, {p99},
	// {memory} and {core} for what was measured.
	Means   string
	Metric  string // of what the ratio is: rate, latency, memory
	AtLeast float64
	Aim     float64
	// Most and AimMost bound what a worker of B takes, in bytes, Core the share of
	// a core that it uses. Zero: not bounded.
	Most, AimMost int64
	Core          float64

	measure measurer
	a, b    setup
	// once makes one round do: the figure hardly varies.
	once bool
	// thrice measures three times as many rounds: what is asked is close to what can be
	// done, and the rounds differ by more.
	thrice bool
	// scale is how many times A's rate B is to reach.
	scale float64
}

// The metrics of a case.
const (
	byRate    = "rate"
	byLatency = "latency"
	byMemory  = "memory"
	byIdle    = "idle"
)

// Cases returns all cases. quick makes them small enough to see in some seconds
// that they work; their figures mean nothing then.
func Cases(quick bool) []Case {
	n, seconds := 100_000, 20*time.Second
	few, many, idle := 10_000, 1_000_000, 1000
	if quick {
		n, seconds, few, many, idle = 2000, time.Second, 200, 2000, 10
	}
	cases := slices.Concat(throughput(n), publishers(n), selves(n), holding(few, many, idle, seconds))
	for i := range cases {
		c := &cases[i]
		if c.measure == nil {
			c.measure = drainBacklog
		}
		c.Metric = cmp.Or(c.Metric, byRate)
		c.Against = cmp.Or(c.Against, "the floor")
	}
	return cases
}

// throughput are the cases in which A is the floor, delivering a backlog of n.
func throughput(n int) []Case {
	every := setup{mode: channels.Every, keys: n / 10, updates: n, target: toHTTP, inFlight: 64}
	latest := setup{mode: channels.Latest, keys: n, updates: n, target: toHTTP, inFlight: 64}
	slow := every.with(func(s *setup) { s.sink.Delay, s.inFlight = 50*time.Millisecond, 256 })
	rows := latest.with(func(s *setup) { s.target, s.inFlight = toPostgres, 4 })
	file := latest.with(func(s *setup) { s.target, s.inFlight = toSQLite, 1 })
	calm := setup{mode: channels.Latest, keys: n / 40, updates: n / 40, target: toHTTP, inFlight: 64}
	skewed := setup{mode: channels.Every, keys: n / 10, updates: n / 5, zipf: true, target: toHTTP, inFlight: 64, sink: SinkOptions{Delay: 10 * time.Millisecond}}
	against := func(floor setup, c Case) Case {
		c.a, c.b = floor, floor.with(func(s *setup) { s.workers = 1 })
		return c
	}
	converging := against(skewed, Case{
		Name: "skewed-latest", What: "a few hot keys, target takes 10 ms, only the newest version counts", AtLeast: 1,
		Against: "the floor, which delivers all versions", Means: "The target has the newest version of all keys {times} times as soon, for extsync leaves out what is superseded.",
	})
	converging.b.mode = channels.Latest
	return []Case{
		against(every, Case{Name: "http-every", What: "HTTP, 64 calls at once, target answers at once, every version", Means: "With order, ledger, acks and fence, extsync delivers at {share} of the rate of a loop that has none of them.", AtLeast: 0.75, Aim: 0.9}),
		against(latest, Case{Name: "http-latest", What: "HTTP, 64 calls at once, target answers at once, 100,000 new keys", Means: "With a ledger record to write for each new key, extsync delivers at {share} of the loop's rate.", AtLeast: 0.75, Aim: 0.9}),
		against(slow, Case{Name: "http-50ms", What: "HTTP, target takes 50 ms, 256 calls at once", Means: "Where the target needs its time, extsync delivers at {share} of the loop's rate.", AtLeast: 0.95, Aim: 1}),
		against(rows, Case{Name: "postgres", What: "PostgreSQL, batches of 500, 4 connections", Means: "Rows reach PostgreSQL at {share} of the rate of the loop, which writes fewer columns and no ledger.", AtLeast: 0.5, Aim: 0.75}),
		against(file, Case{Name: "sqlite", What: "SQLite, batches of 500, one connection", Means: "Rows reach SQLite at {share} of the rate of the loop, which writes fewer columns and no ledger.", AtLeast: 0.5, Aim: 0.75, thrice: true}),
		against(calm, Case{Name: "latency", What: "from push to ack, at 200 updates a second (less is better)", Means: "An ack takes {times} times as long as with the loop, and {p99} times at the 99th percentile.", Metric: byLatency, AtLeast: 1.5, Aim: 1.15, measure: latency}),
		converging,
	}
}

// publishers are the cases of publishing n updates.
func publishers(n int) []Case {
	bare := setup{mode: channels.Latest, keys: n / 10, updates: n, target: toHTTP, inFlight: 256, publish: publishBare}
	all := bare.with(func(s *setup) { s.publish = publishAll })
	once := all.with(func(s *setup) { s.keys = n })
	beside := all.with(func(s *setup) { s.target = toPostgres })
	return []Case{
		{
			Name: "publish", What: "PublishAll with the version guard, 256 updates on their way",
			Against: "PublishAsync, told the sequences", Means: "With versions compared, updates are published at {share} of the rate that the client of NATS reaches.",
			AtLeast: 0.8, Aim: 0.95, measure: publishRate, a: bare, b: all,
		},
		{
			Name: "import", What: "import a file of new keys, 256 updates on their way",
			Against: "PublishAll of the same updates from memory", Means: "A file is imported at {share} of the rate at which the library publishes from memory.",
			AtLeast: 0.6, Aim: 0.8, measure: publishRate, a: once, b: once.with(func(s *setup) { s.publish = publishImport }),
		},
		{
			Name: "relay", What: "relay the outbox of a PostgreSQL database, ten versions of each key",
			Against: "PublishAll of the same updates from memory", Means: "An outbox is relayed at {share} of the rate at which the library publishes from memory.",
			AtLeast: 0.6, Aim: 0.8, measure: publishRate, a: beside, b: beside.with(func(s *setup) { s.publish = publishRelay }),
		},
	}
}

// selves are the cases in which extsync keeps up with itself.
func selves(n int) []Case {
	one := setup{mode: channels.Every, keys: n / 10, updates: n, target: toHTTP, inFlight: 64, workers: 1}
	healthy := one.with(func(s *setup) { s.partial = true })
	four := setup{
		mode: channels.Every, keys: n / 10, updates: n / 8, target: toHTTP, inFlight: 64, partitions: 4, workers: 1, ready: true,
		sink: SinkOptions{Delay: 50 * time.Millisecond},
	}
	long := four.with(func(s *setup) { s.updates = n / 2 })
	return []Case{
		{
			Name: "failing", What: "one of ten keys always fails: how fast the others get through",
			Against: "extsync, all keys healthy", Means: "Beside keys that always fail, the others are delivered at {share} of the rate without them.", AtLeast: 0.95, Aim: 1, thrice: true,
			a: healthy, b: healthy.with(func(s *setup) { s.sink.FailTenth = true }),
		},
		{
			Name: "channels", What: "100 busy channels in one worker, 16 calls at once each",
			Against: "extsync, one channel, 64 calls at once", Means: "A hundred busy channels together reach {share} of the rate of one.", AtLeast: 0.6, Aim: 0.9,
			a: one, b: one.with(func(s *setup) { s.channels, s.inFlight = min(100, s.keys/2), 16 }),
		},
		{
			Name: "workers-2", What: "two workers on 4 partitions, 64 calls at once each, target takes 50 ms",
			Against: "extsync, one worker", Means: "Two workers reach {share} of twice what one delivers.", AtLeast: 0.9, scale: 2,
			a: four, b: four.with(func(s *setup) { s.workers, s.inFlight = 2, 128 }),
		},
		{
			Name: "workers-4", What: "four workers on 4 partitions, 64 calls at once each, target takes 50 ms",
			Against: "extsync, one worker", Means: "Four workers reach {share} of four times what one delivers.", AtLeast: 0.9, Aim: 0.95, scale: 4,
			a: four, b: four.with(func(s *setup) { s.workers, s.inFlight = 4, 256 }),
		},
		{
			Name: "workers-4-long", What: "four workers as in workers-4, with four times its backlog",
			Against: "extsync, one worker", Means: "Over a long backlog four workers reach {share} of four times what one delivers.", AtLeast: 0.9, Aim: 0.95, scale: 4, once: true,
			a: long, b: long.with(func(s *setup) { s.workers, s.inFlight = 4, 256 }),
		},
	}
}

// holding are the cases of a worker with much, or nothing, to do.
func holding(few, many, idle int, seconds time.Duration) []Case {
	backlog := setup{mode: channels.Latest, target: toHTTP, inFlight: 64, workers: 1, peek: seconds}
	of := func(n int) setup { return backlog.with(func(s *setup) { s.keys, s.updates = n, n }) }
	quiet := backlog.with(func(s *setup) { s.keys, s.peek = 1, seconds/2 })
	return []Case{
		{
			Name: "memory", What: "memory of a worker with a backlog of 1,000,000 updates (less is better; at most 96 MiB, aim 48)", Metric: byMemory,
			Against: "extsync, a backlog of 10,000", Means: "A backlog a hundred times as long takes {times} times the memory: {memory} MiB.",
			AtLeast: 1.2, Aim: 1.2, Most: 96 << 20, AimMost: 48 << 20, measure: hold, once: true, a: of(few), b: of(many),
		},
		{
			Name: "idle", What: "1,000 idle channels (less is better; at most 2 % of a core and 256 MiB)", Metric: byIdle,
			Against: "extsync, one idle channel", Means: "A thousand channels without updates cost {core} of a core and {memory} MiB.",
			Most: 256 << 20, Core: 0.02, measure: hold, once: true, a: quiet, b: quiet.with(func(s *setup) { s.channels = idle }),
		},
	}
}

func (s setup) with(change func(*setup)) setup {
	change(&s)
	return s
}

// CaseNames lists the names of all cases.
func CaseNames() []string {
	var names []string
	for _, c := range Cases(true) {
		names = append(names, c.Name)
	}
	return slices.Clip(names)
}
