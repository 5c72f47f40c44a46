package config

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// Relay says where a platform's outbox is, and how it is relayed.
type Relay struct {
	// Dialect is postgres, mysql (MariaDB, too) or sqlite.
	Dialect string `yaml:"dialect"`
	// DSN is the way to the database, and DSNFile a file that holds it: one of them.
	DSN     string `yaml:"dsn"`
	DSNFile string `yaml:"dsn_file"`
	// Poll is how often the database is asked when it says nothing by itself, 10ms to 1h.
	// Defaults to 250ms.
	Poll Duration `yaml:"poll"`
	// Claims is how many groups of rows are published at once, 1 to 64. Defaults to 4.
	Claims int `yaml:"claims"`
	// StallAfter is how long rows may wait and none be published before the relay counts as
	// not ready, 1s to 24h. Defaults to 1m.
	StallAfter Duration `yaml:"stall_after"`
}

const (
	defaultRelayPoll   = 250 * time.Millisecond
	defaultRelayClaims = 4
	maxRelayClaims     = 64
	maxDSNLen          = 16 << 10
)

func (r *Relay) check(bad func(path, format string, args ...any)) {
	if r.Dialect != "" && !slices.Contains(outbox.Dialects(), outbox.Dialect(r.Dialect)) {
		bad("relay.dialect", "%q is not postgres, mysql or sqlite", r.Dialect)
	}
	if r.DSN != "" && r.DSNFile != "" {
		bad("relay.dsn", "dsn and dsn_file are two ways to say the same; leave one out")
	}
	if d := r.Poll.D(); d < 10*time.Millisecond || d > time.Hour {
		bad("relay.poll", "%s is outside 10ms..1h0m0s", d)
	}
	if r.Claims < 1 || r.Claims > maxRelayClaims {
		bad("relay.claims", "%d is outside 1..%d", r.Claims, maxRelayClaims)
	}
	if d := r.StallAfter.D(); d < time.Second || d > 24*time.Hour {
		bad("relay.stall_after", "%s is outside 1s..24h0m0s", d)
	}
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
