package compare

import (
	"os"
	"time"
)

// A Measure is what came out of one measurement.
type Measure struct {
	Rate float64       `json:"rate"`           // updates a second, counted at the target
	Took time.Duration `json:"took,omitempty"` // what Rate was counted over
	// Ledger is how long after the last ack the ledger was complete, and Sustained
	// the rate with that time.
	Ledger    time.Duration      `json:"ledger,omitempty"`
	Sustained float64            `json:"sustained,omitempty"`
	CPU       map[string]float64 `json:"cpu"`           // seconds per 1,000 updates, by process
	Memory    int64              `json:"memory"`        // of a worker, bytes at most
	P50       time.Duration      `json:"p50,omitempty"` // from push to ack
	P99       time.Duration      `json:"p99,omitempty"` // ...
}

// self is this process: it publishes, takes acks and looks at the sink.
const self = "bench"

// snapshot notes the CPU times before the measurement.
func (b *bed) snapshot() error {
	var err error
	b.before, err = b.cpu()
	return err
}

func (b *bed) cpu() (map[string]time.Duration, error) {
	out := map[string]time.Duration{}
	mine, err := cpuTime(os.Getpid(), false)
	if err != nil {
		return nil, err
	}
	out[self] = mine
	parts := append([]*process{b.broker}, b.runners...)
	if b.sink != nil {
		parts = append(parts, b.sink)
	}
	for _, p := range parts {
		u, err := p.usage()
		if err != nil {
			return nil, err
		}
		out[p.name] += u.CPU
	}
	if b.s.target == toPostgres {
		cpu, err := treeCPU(b.postgres.PID())
		if err != nil {
			return nil, err
		}
		out[toPostgres] = cpu
	}
	return out, nil
}

// measure fills in what the processes have used.
func (b *bed) measure(rate float64, took time.Duration, updates int) (Measure, error) {
	m := Measure{Rate: rate, Took: took, CPU: map[string]float64{}}
	after, err := b.cpu()
	if err != nil {
		return m, err
	}
	for name, cpu := range after {
		m.CPU[name] = (cpu - b.before[name]).Seconds() * 1000 / float64(updates)
	}
	for _, p := range b.runners {
		u, err := p.usage()
		if err != nil {
			return m, err
		}
		m.Memory = max(m.Memory, u.Peak)
	}
	return m, nil
}
