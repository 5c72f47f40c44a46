package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hms-utl/extsync/internal/testdb"
)

// Options say what to measure.
type Options struct {
	Cases    []string // names; none: all
	Rounds   int      // of each case
	Quick    bool     // small sizes and one round: see that it works
	Dir      string   // for broker and databases; "": the system's temporary directory
	Profiles string   // directory for CPU profiles
	Progress io.Writer
}

// ErrCase says that there is no case of that name.
var ErrCase = errors.New("no such case of the benchmark")

// A Result is what came out of a case.
type Result struct {
	Name    string  `json:"name"`
	What    string  `json:"what"`
	Against string  `json:"against"` // what A is
	Means   string  `json:"means,omitempty"`
	Metric  string  `json:"metric"`
	AtLeast float64 `json:"at_least,omitempty"`
	Aim     float64 `json:"aim,omitempty"`
	Most    int64   `json:"most_bytes,omitempty"`
	AimMost int64   `json:"aim_bytes,omitempty"`
	Core    float64 `json:"most_core,omitempty"`
	// Ratio is how B compares with A: the median of all rounds, in each of which B is
	// compared with the mean of the A before it and the A after it. Rounds is from the
	// least of them to the most, Noise the same of A against the As around it.
	Ratio  float64 `json:"ratio,omitempty"`
	Rounds Range   `json:"rounds,omitzero"`
	Noise  Range   `json:"noise,omitzero"`
	// Sustained is the ratio when the time counts until the ledger is complete.
	Sustained float64   `json:"sustained,omitempty"`
	Tail      float64   `json:"tail,omitempty"`   // the ratio of the 99th percentiles
	Failed    string    `json:"failed,omitempty"` // why there is no result
	A         []Measure `json:"others"`           // of Against; one more than B, if there are rounds
	B         []Measure `json:"extsync"`
}

// A Report is what came out of a run, with what it ran on.
type Report struct {
	Date     time.Time         `json:"date"`
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`
	Rounds   int               `json:"rounds"`
	Quick    bool              `json:"quick,omitempty"`
	Results  []Result          `json:"results"`
}

// Run makes all measurements, the sides of each case taking turns. It refuses to
// report a case whose target does not end as it should; the others are reported
// all the same, with the error.
func Run(ctx context.Context, o Options) (Report, error) {
	cases, err := choose(o)
	if err != nil {
		return Report{}, err
	}
	if o.Quick {
		o.Rounds = 1
	}
	r := Report{Date: time.Now().UTC().Truncate(time.Second), Machine: machine(), Versions: versions(), Rounds: o.Rounds, Quick: o.Quick}
	var pg *testdb.Server
	if slices.ContainsFunc(cases, func(c Case) bool { return c.a.target == toPostgres }) {
		if pg, err = testdb.LaunchPostgres(); err != nil {
			return r, err
		}
		defer func() { _ = pg.Close() }() // it was private
		if r.Versions[toPostgres], err = postgresVersion(ctx, pg); err != nil {
			return r, err
		}
	}
	var failed []error
	for _, c := range cases {
		res, err := runCase(ctx, &o, c, pg)
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if err != nil {
			res = Result{Name: c.Name, What: c.What, Against: c.Against, Metric: c.Metric, Failed: err.Error()}
			failed = append(failed, fmt.Errorf("%s: %w", c.Name, err))
		}
		r.Results = append(r.Results, res)
	}
	return r, errors.Join(failed...)
}

func choose(o Options) ([]Case, error) {
	all := Cases(o.Quick)
	if len(o.Cases) == 0 {
		return all, nil
	}
	var out []Case
	for _, name := range o.Cases {
		i := slices.IndexFunc(all, func(c Case) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: %q; there are %s", ErrCase, name, strings.Join(CaseNames(), ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

func runCase(ctx context.Context, o *Options, c Case, pg *testdb.Server) (Result, error) {
	res := Result{Name: c.Name, What: c.What, Against: c.Against, Metric: c.Metric, AtLeast: c.AtLeast, Aim: c.Aim, Most: c.Most, AimMost: c.AimMost, Core: c.Core}
	rounds := o.Rounds
	switch {
	case c.once:
		rounds = 1
	case c.thrice && !o.Quick:
		rounds *= 3
	}
	one := func(side string, s setup, to *[]Measure) error {
		m, err := c.measure.on(ctx, o, s, pg)
		if err != nil {
			return fmt.Errorf("%s: %w", side, err)
		}
		*to = append(*to, m)
		_, err = fmt.Fprintf(o.Progress, "%s, round %d, %s: %s\n", c.Name, len(*to), side, m.line(c.Metric))
		return err
	}
	for range rounds {
		if err := one(c.Against, c.a, &res.A); err != nil {
			return res, err
		}
		if err := one("extsync", c.b, &res.B); err != nil {
			return res, err
		}
	}
	if rounds > 1 {
		if err := one(c.Against, c.a, &res.A); err != nil {
			return res, err
		}
	}
	res.sum(c)
	res.Means = res.meaning(c.Means)
	return res, nil
}

func postgresVersion(ctx context.Context, pg *testdb.Server) (version string, err error) {
	dsn, err := pg.NewDatabase(ctx)
	if err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	return version, conn.QueryRow(ctx, "SHOW server_version").Scan(&version)
}

// machine says what the figures were measured on, as far as the system tells.
func machine() string {
	text := fmt.Sprintf("%s/%s, %d cores", runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if model := field("/proc/cpuinfo", "model name"); model != "" {
		text += " (" + model + ")"
	}
	if kib, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		text += fmt.Sprintf(", %.0f GiB", float64(kib)/(1<<20))
	}
	return text
}

// field returns what stands behind the first "name:" of a file of the kernel.
func field(path, name string) string {
	data, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if before, after, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(before) == name {
			return strings.TrimSpace(after)
		}
	}
	return ""
}

// versions returns those of what the figures depend on.
func versions() map[string]string {
	out := map[string]string{"go": runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return out
	}
	for _, d := range info.Deps {
		switch d.Path {
		case "github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go", "github.com/jackc/pgx/v5", "modernc.org/sqlite":
			out[d.Path] = d.Version
		}
	}
	return out
}
