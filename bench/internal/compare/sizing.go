package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// SizingOptions say what Sizing measures.
type SizingOptions struct {
	Keys     int
	Targets  []string // sqlite, postgres
	Program  string   // the built command extsync; "": it is built
	Dir      string   // for broker and databases; "": the system's temporary directory
	Profiles string   // directory for CPU profiles
	Progress io.Writer
}

// ErrSizing says that there is nothing to measure.
var ErrSizing = errors.New("sizing")

// A Speed is how fast keys go through a step, and the CPU time that each takes, by process.
type Speed struct {
	Rate float64                  // keys a second
	CPU  map[string]time.Duration // for each key
}

// A Size is what a channel of many keys needs.
type Size struct {
	Target                     string
	Keys                       int
	Import, Delivery, Audit    Speed
	Imported, Delivered, Again int64 // resident memory of the broker, Again after a restart
	Worker, Auditor            int64 // memory of the processes at most
	Stream, Ledger, Log, Disk  int64 // bytes at the broker: of the three streams, and of all files
	Status, Get                time.Duration
	BusyStatus, BusyGet        time.Duration // while half is delivered
	AgainStatus, AgainGet      time.Duration // the first ones after the restart
}

// A SizingReport has a Size for each target.
type SizingReport struct {
	Machine  string
	Versions map[string]string
	Load     string // the machine's load average, before and after
	Sizes    []Size
}

// sizingPatience bounds the measurement of one target.
const sizingPatience = 30 * time.Minute

// Sizing measures a channel of many keys with each target.
func Sizing(ctx context.Context, o SizingOptions) (report SizingReport, err error) {
	known := []string{toSQLite, toPostgres}
	if o.Keys < 1 || len(o.Targets) == 0 || slices.ContainsFunc(o.Targets, func(t string) bool { return !slices.Contains(known, t) }) {
		return report, fmt.Errorf("%w: give a key or more, and targets among %q", ErrSizing, known)
	}
	report = SizingReport{Machine: machine(), Versions: versions(), Load: loadAverage()}
	dir, err := os.MkdirTemp(o.Dir, "extsync-sizing-")
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.Program == "" {
		if o.Program, err = buildExtsync(ctx, dir); err != nil {
			return report, err
		}
	}
	var pg *testdb.Server
	if slices.Contains(o.Targets, toPostgres) {
		if pg, err = testdb.LaunchPostgres(); err != nil {
			return report, err
		}
		defer func() { _ = pg.Close() }() // it was private
		if report.Versions[toPostgres], err = postgresVersion(ctx, pg); err != nil {
			return report, err
		}
	}
	for _, target := range o.Targets {
		size, err := sizeOf(ctx, o, target, pg)
		if err != nil {
			return report, fmt.Errorf("%s: %w", target, err)
		}
		report.Sizes = append(report.Sizes, size)
	}
	report.Load += " to " + loadAverage()
	return report, nil
}

// A sizer measures on a bed.
type sizer struct {
	*bed
	program string
	size    Size
	spent   map[string]time.Duration // see spend
}

func sizeOf(ctx context.Context, o SizingOptions, target string, pg *testdb.Server) (_ Size, err error) {
	ctx, cancel := context.WithTimeout(ctx, sizingPatience)
	defer cancel()
	s := setup{mode: channels.Latest, keys: o.Keys, updates: o.Keys, target: target, inFlight: 4, workers: 1}
	b, err := newBed(ctx, &Options{Dir: o.Dir, Profiles: o.Profiles, Progress: o.Progress}, s, pg)
	if err != nil {
		return Size{}, err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	z := &sizer{bed: b, program: o.Program, size: Size{Target: target, Keys: o.Keys}}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"import", z.importAll},
		{"delivery", z.deliver},
		{"disk", z.disk},
		{"status and get", z.look},
		{"audit", z.audit},
		{"restart", z.again},
	} {
		from := time.Now()
		if err := step.do(ctx); err != nil {
			return z.size, fmt.Errorf("%s: %w", step.name, err)
		}
		if _, err := fmt.Fprintf(o.Progress, "%s, %d keys: %s took %s\n", target, o.Keys, step.name, time.Since(from).Round(time.Millisecond)); err != nil {
			return z.size, err
		}
	}
	return z.size, nil
}

// importAll imports a file of all keys with the command for that.
func (z *sizer) importAll(ctx context.Context) error {
	path := filepath.Join(z.dir, "keys.ndjson")
	if err := writeKeys(path, z.s.keys); err != nil {
		return err
	}
	var err error
	z.size.Import, err = z.timed(func() (time.Duration, error) {
		took, err := z.command(ctx, "import", z.channelName(0), path)
		z.spend("extsync", took.cpu)
		return took.real, err
	})
	if err != nil {
		return err
	}
	z.size.Imported, err = z.broker.resident()
	return err
}

// deliver delivers all keys, and waits until the ledger has them.
func (z *sizer) deliver(ctx context.Context) error {
	var err error
	z.size.Delivery, err = z.timed(func() (time.Duration, error) {
		from := time.Now()
		if err := z.startWorkers(ctx); err != nil {
			return 0, err
		}
		if err := z.awaitDelivered(ctx, z.s.keys/2); err != nil {
			return 0, err
		}
		if z.size.BusyStatus, z.size.BusyGet, err = z.ask(ctx, asks); err != nil {
			return 0, err
		}
		if err := z.awaitDelivered(ctx, z.s.keys); err != nil {
			return 0, err
		}
		return time.Since(from), z.awaitLedger(ctx)
	})
	if err != nil {
		return err
	}
	if z.size.Delivered, err = z.broker.resident(); err != nil {
		return err
	}
	u, err := z.runners[0].usage()
	z.size.Worker = u.Peak
	return err
}

// awaitDelivered waits until so many of the keys are delivered.
func (z *sizer) awaitDelivered(ctx context.Context, keys int) error {
	for {
		all, err := z.client.Status(ctx, z.channelName(0))
		if err != nil {
			return err
		}
		if c := all.Channels[0]; len(c.Workers) > 0 && c.Undelivered <= uint64(z.s.keys-keys) { //nolint:gosec // not negative
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// disk notes what the broker keeps.
func (z *sizer) disk(ctx context.Context) error {
	names := z.client.Names
	for stream, into := range map[string]*int64{
		wire.UpdateStream(names, events.ToChannel(z.channelName(0))): &z.size.Stream,
		wire.KVStream(wire.LedgerBucket(names)):                      &z.size.Ledger,
		wire.OutcomeStream(names):                                    &z.size.Log,
	} {
		s, err := z.client.JS.Stream(ctx, stream)
		if err != nil {
			return err
		}
		*into = int64(s.CachedInfo().State.Bytes) //nolint:gosec // no disk has so many
	}
	var err error
	z.size.Disk, err = filesOf(filepath.Join(z.dir, "js"))
	return err
}

// asks is how often a question is asked. The median counts.
const asks = 5

// look asks how the channel and one of its keys stand.
func (z *sizer) look(ctx context.Context) (err error) {
	z.size.Status, z.size.Get, err = z.ask(ctx, asks)
	return err
}

// ask asks how the channel and one of its keys stand so many times, with a process for each
// question, and returns the medians.
func (z *sizer) ask(ctx context.Context, times int) (status, get time.Duration, err error) {
	for into, question := range map[*time.Duration][]string{&status: {"status"}, &get: {"get", keyName(z.s.keys / 2)}} {
		var all []time.Duration
		for range times {
			took, err := z.command(ctx, question...)
			if err != nil {
				return 0, 0, err
			}
			all = append(all, took.real)
		}
		*into = medianTime(all)
	}
	return status, get, nil
}

// again starts the broker on its files once more, and asks the same questions.
func (z *sizer) again(ctx context.Context) error {
	if err := z.stopRunners(); err != nil {
		return err
	}
	z.client.Close()
	if err := z.broker.stop(); err != nil {
		return err
	}
	var at address
	var err error
	if z.broker, err = start(ctx, z.dir, Part{Role: roleBroker, Dir: filepath.Join(z.dir, "js")}, &at); err != nil {
		return err
	}
	z.url = at.URL
	if err := z.connect(ctx); err != nil {
		return err
	}
	if z.size.Again, err = z.broker.resident(); err != nil {
		return err
	}
	z.size.AgainStatus, z.size.AgainGet, err = z.ask(ctx, 1)
	return err
}
