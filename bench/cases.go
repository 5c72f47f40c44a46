package bench

import (
	"context"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/pkg/channels"
)

// A measurer makes one measurement.
type measurer func(ctx context.Context, o *Options, s setup, pg *testdb.Server) (Measure, error)

// A Case compares two sides: A is the floor, or what else B has to keep up with.
type Case struct {
	Name    string
	What    string
	Metric  string // of what the ratio is: rate, latency, memory
	AtLeast float64
	Aim     float64
	measure measurer
	a, b    setup
	rounds  int // 0: those of the options
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
	keys := n / 10
	every := setup{mode: channels.Every, keys: keys, updates: n, target: toHTTP, inFlight: 64}
	latest := setup{mode: channels.Latest, keys: n, updates: n, target: toHTTP, inFlight: 64}
	slow := every
	slow.sink.Delay, slow.inFlight = 50*time.Millisecond, 256
	rows := latest
	rows.target, rows.inFlight = toPostgres, 4
	file := rows
	file.target, file.inFlight = toSQLite, 1
	calm := setup{mode: channels.Latest, keys: n / 20, updates: n / 20, target: toHTTP, inFlight: 64}
	publish := setup{mode: channels.Latest, keys: keys, updates: n, target: toHTTP, inFlight: 256}
	healthy := every.with(func(s *setup) { s.workers, s.partial = 1, true })
	one := every.with(func(s *setup) { s.workers = 1 })
	backlog := latest.with(func(s *setup) { s.workers, s.peek = 1, seconds })
	skewed := setup{mode: channels.Every, keys: keys, updates: n / 5, zipf: true, target: toHTTP, inFlight: 64, sink: SinkOptions{Delay: 10 * time.Millisecond}}
	four := setup{mode: channels.Every, keys: keys, updates: n / 4, target: toHTTP, inFlight: 64, partitions: 4, workers: 1, sink: SinkOptions{Delay: 50 * time.Millisecond}}
	sides := func(s setup) (setup, setup) { return s, s.with(func(s *setup) { s.workers = 1 }) }

	list := []Case{
		{Name: "http-every", What: "HTTP, 64 in flight, sink at once, every version", AtLeast: 0.75, Aim: 0.9},
		{Name: "http-latest", What: "HTTP, 64 in flight, sink at once, latest", AtLeast: 0.75, Aim: 0.9},
		{Name: "http-50ms", What: "HTTP, sink takes 50 ms, 256 in flight", AtLeast: 0.95, Aim: 1},
		{Name: "postgres", What: "PostgreSQL, batches of 500, 4 connections", AtLeast: 0.5, Aim: 0.75},
		{Name: "sqlite", What: "SQLite, batches of 500", AtLeast: 0.5, Aim: 0.75},
		{Name: "latency", What: "push to ack at 200/s (ratio of the times: below is better)", Metric: byLatency, AtLeast: 1.5, Aim: 1.15, measure: latency},
		{Name: "publish", What: "publish with guard, pipelined, against PublishAsync with an expected sequence", AtLeast: 0.8, Aim: 0.95, measure: publishRate},
		{Name: "skewed-every", What: "Zipf-skewed keys, sink takes 10 ms, every version in order, against no order", AtLeast: 0},
		{Name: "skewed-latest", What: "Zipf-skewed keys, sink takes 10 ms, latest: time to converge against delivering everything without order", AtLeast: 1},
	}
	for i, s := range []setup{every, latest, slow, rows, file, calm, publish, skewed, skewed} {
		list[i].a, list[i].b = sides(s)
	}
	list[8].b.mode = channels.Latest
	list = append(list,
		Case{
			Name: "failing", What: "1 of 10 keys always failing: the others, against all healthy", AtLeast: 0.95, Aim: 1,
			a: healthy, b: healthy.with(func(s *setup) { s.sink.FailTenth = true }),
		},
		Case{
			Name: "channels", What: "100 channels at once, against one", AtLeast: 0.6, Aim: 0.9,
			a: one, b: one.with(func(s *setup) { s.channels = min(100, s.keys/2) }),
		},
		Case{
			Name: "memory", What: "memory of a worker with a large backlog, against a small one (below is better)", Metric: byMemory, AtLeast: 1.2, Aim: 1, measure: hold, rounds: 1,
			a: backlog.with(func(s *setup) { s.keys, s.updates = few, few }), b: backlog.with(func(s *setup) { s.keys, s.updates = many, many }),
		},
		Case{
			Name: "idle", What: "1,000 idle channels, against one (share of a core)", Metric: byIdle, measure: hold, rounds: 1,
			a: backlog.with(func(s *setup) { s.updates, s.peek = 0, seconds/2 }), b: backlog.with(func(s *setup) { s.updates, s.channels, s.peek = 0, idle, seconds/2 }),
		},
		Case{
			Name: "workers-2", What: "2 workers on 4 partitions, 64 in flight each, sink takes 50 ms, against 1 (share of twice its rate)", AtLeast: 0.9, scale: 2,
			a: four, b: four.with(func(s *setup) { s.workers, s.inFlight = 2, 128 }),
		},
		Case{
			Name: "workers-4", What: "4 workers on 4 partitions, 64 in flight each, sink takes 50 ms, against 1 (share of four times its rate)", AtLeast: 0.9, scale: 4,
			a: four, b: four.with(func(s *setup) { s.workers, s.inFlight = 4, 256 }),
		},
		Case{
			Name: "power", What: "HTTP, latest, with the broker's durability power, against process",
			a: latest.with(func(s *setup) { s.workers = 1 }), b: latest.with(func(s *setup) { s.workers, s.power = 1, true }), rounds: 1,
		},
	)
	for i := range list {
		if list[i].measure == nil {
			list[i].measure = drainBacklog
		}
		if list[i].Metric == "" {
			list[i].Metric = byRate
		}
	}
	return list
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
