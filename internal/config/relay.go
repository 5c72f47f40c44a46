package config

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// Relay says where a platform's outbox is, or its own tables, and how they are relayed.
type Relay struct {
	// Dialect is postgres, mysql (MariaDB, too) or sqlite.
	Dialect string `yaml:"dialect"`
	// DSN is the way to the database, and DSNFile a file that holds it: one of them.
	DSN     string `yaml:"dsn"`
	DSNFile string `yaml:"dsn_file"`
	// Query selects rows of the platform's own tables, which are relayed in place of an outbox;
	// "" is none. In it :since stands for the version after which it is to begin.
	Query string `yaml:"query"`
	// Target is the channel that the query's rows go to, or topics/ and a topic.
	Target string `yaml:"target"`
	// Versions says what the query's versions are: number or time. Defaults to number.
	Versions string `yaml:"versions"`
	// Overlap is how far before the newest version each run of the query begins: so many
	// versions, 1 to 1000000000, or a duration, 1s to 168h. Defaults to 10000, or to 5m.
	Overlap string `yaml:"overlap"`
	// CompareEvery is how often the query is compared with the broker, 1m to 720h. Defaults to
	// never.
	CompareEvery Duration `yaml:"compare_every"`
	// Poll is how often the database is asked when it says nothing by itself, 10ms to 1h.
	// Defaults to 250ms, with a query to 5s. See PollEvery.
	Poll Poll `yaml:"poll"`
	// Claims is how many groups of rows are published at once, 1 to 64. Defaults to 2.
	Claims int `yaml:"claims"`
	// StallAfter is how long rows may wait and none be published before the relay counts as
	// not ready, 1s to 24h. Defaults to 1m.
	StallAfter Duration `yaml:"stall_after"`
}

// A Poll is a Duration that nobody gives as zero: the zero Poll is the default.
type Poll Duration

// UnmarshalText reads what is given.
func (p *Poll) UnmarshalText(b []byte) error {
	var d Duration
	if err := d.UnmarshalText(b); err != nil {
		return err
	}
	if d == 0 {
		return fmt.Errorf("%s is outside %s..%s; leave it out for the default", d.D(), minPoll, maxPoll)
	}
	*p = Poll(d)
	return nil
}

// String returns what is given, "" for nothing.
func (p *Poll) String() string {
	if *p == 0 {
		return ""
	}
	return time.Duration(*p).String()
}

const (
	minPoll            = 10 * time.Millisecond
	maxPoll            = time.Hour
	defaultRelayPoll   = 250 * time.Millisecond
	defaultQueryPoll   = 5 * time.Second
	defaultRelayClaims = 2
	maxRelayClaims     = 64
	maxDSNLen          = 16 << 10

	defaultOverlapVersions = 10_000
	maxOverlapVersions     = 1_000_000_000
	defaultOverlapTime     = 5 * time.Minute
	maxOverlapTime         = 7 * 24 * time.Hour
	maxCompareEvery        = 30 * 24 * time.Hour
)

// What the versions of a query are.
const (
	VersionsNumber = "number"
	VersionsTime   = "time"
)

func (r *Relay) check(bad func(path, format string, args ...any)) {
	if r.Dialect != "" && !slices.Contains(outbox.Dialects(), outbox.Dialect(r.Dialect)) {
		bad("relay.dialect", "%q is not postgres, mysql or sqlite", r.Dialect)
	}
	if r.DSN != "" && r.DSNFile != "" {
		bad("relay.dsn", "dsn and dsn_file are two ways to say the same; leave one out")
	}
	r.checkQuery(bad)
	if d := time.Duration(r.Poll); d != 0 && (d < minPoll || d > maxPoll) {
		bad("relay.poll", "%s is outside %s..%s", d, minPoll, maxPoll)
	}
	if r.Claims < 1 || r.Claims > maxRelayClaims {
		bad("relay.claims", "%d is outside 1..%d", r.Claims, maxRelayClaims)
	}
	if d := r.StallAfter.D(); d < time.Second || d > 24*time.Hour {
		bad("relay.stall_after", "%s is outside 1s..24h0m0s", d)
	}
}

func (r *Relay) checkQuery(bad func(path, format string, args ...any)) {
	if r.Versions != VersionsNumber && r.Versions != VersionsTime {
		bad("relay.versions", "%q is not %s or %s", r.Versions, VersionsNumber, VersionsTime)
	}
	if _, _, err := r.Overlaps(); err != nil {
		bad("relay.overlap", "%v", err)
	}
	if d := r.CompareEvery.D(); d != 0 && (d < time.Minute || d > maxCompareEvery) {
		bad("relay.compare_every", "%s is outside 1m0s..%s", d, maxCompareEvery)
	}
	topic, isTopic := strings.CutPrefix(r.Target, "topics/")
	switch {
	case isTopic && events.CheckTopic(topic) != nil:
		bad("relay.target", "%v", events.CheckTopic(topic))
	case !isTopic && r.Target != "" && events.CheckChannel(r.Target) != nil:
		bad("relay.target", "%v; it is the name of a channel, or topics/ and that of a topic", events.CheckChannel(r.Target))
	}
	if r.Query != "" {
		return
	}
	for _, f := range []struct {
		path  string
		given bool
	}{
		{"relay.target", r.Target != ""},
		{"relay.overlap", r.Overlap != ""},
		{"relay.compare_every", r.CompareEvery != 0},
	} {
		if f.given {
			bad(f.path, "it is about the rows of a query, and there is none (relay.query); a row of the outbox has its own target")
		}
	}
}

// PollEvery returns how often the database is asked when it says nothing by itself.
func (r *Relay) PollEvery() time.Duration {
	switch {
	case r.Poll != 0:
		return time.Duration(r.Poll)
	case r.Query != "":
		return defaultQueryPoll
	}
	return defaultRelayPoll
}

// Overlaps returns the overlap: versions where they are numbers, else a time.
func (r *Relay) Overlaps() (versions int64, span time.Duration, err error) {
	if r.Versions == VersionsTime {
		if r.Overlap == "" {
			return 0, defaultOverlapTime, nil
		}
		span, err = time.ParseDuration(r.Overlap)
		if err != nil || span < time.Second || span > maxOverlapTime {
			return 0, 0, fmt.Errorf("%q is not a duration in 1s..%s, such as 5m", r.Overlap, maxOverlapTime)
		}
		return 0, span, nil
	}
	if r.Overlap == "" {
		return defaultOverlapVersions, 0, nil
	}
	versions, err = strconv.ParseInt(r.Overlap, 10, 64)
	if err != nil || versions < 1 || versions > maxOverlapVersions {
		return 0, 0, fmt.Errorf("%q is not a number of versions in 1..%d; a duration is for relay.versions time", r.Overlap, maxOverlapVersions)
	}
	return versions, 0, nil
}

// Database returns dialect and data source name. The error wraps connectors.ErrConfig.
func (r *Relay) Database() (outbox.Dialect, string, error) {
	var p connectors.Problems
	if r.Dialect == "" {
		p.Add("relay.dialect", "it is missing; give postgres, mysql or sqlite (--relay-dialect)")
	}
	if r.DSN == "" && r.DSNFile == "" {
		p.Add("relay.dsn", "it is missing; give the way to the database (--relay-dsn, or --relay-dsn-file for one with a password)")
	}
	if err := p.Err(); err != nil {
		return "", "", err
	}
	if r.DSNFile == "" {
		return outbox.Dialect(r.Dialect), r.DSN, nil
	}
	data, err := os.ReadFile(r.DSNFile)
	if err != nil {
		return "", "", fmt.Errorf("%w: relay.dsn_file: %w", connectors.ErrConfig, err)
	}
	dsn := strings.TrimSpace(string(data))
	if dsn == "" || len(dsn) > maxDSNLen {
		return "", "", fmt.Errorf("%w: relay.dsn_file: %s holds no DSN", connectors.ErrConfig, r.DSNFile)
	}
	return outbox.Dialect(r.Dialect), dsn, nil
}
