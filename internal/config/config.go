// Package config reads what a process is told: a YAML file, EXTSYNC_* variables
// and flags. A flag wins over a variable, a variable over the file, the file
// over the default.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/schema"
)

// Config is the configuration of every extsync process; each uses the parts that
// concern it. It holds no secret but what NATS.URL and Relay.DSN may carry.
type Config struct {
	NATS broker.Config `yaml:"nats"`
	// Prefix is the first token of every subject, see events.NewNames. Defaults
	// to "sync".
	Prefix string `yaml:"prefix"`
	// AdminKey is the file of an administrator's key, which signs tokens and their
	// revocations. Only commands that sign read it.
	AdminKey string  `yaml:"admin_key"`
	Log      Log     `yaml:"log"`
	Storage  Storage `yaml:"storage"`
	Worker   Worker  `yaml:"worker"`
	// Allow is what channels may use of the process that opens their connectors.
	Allow connectors.Allow `yaml:"allow"`
	// Telemetry is what operators look at.
	Telemetry Telemetry `yaml:"telemetry"`
	HTTP      HTTP      `yaml:"http"`
	Relay     Relay     `yaml:"relay"`

	// File is the configuration file that was read; "" if there is none.
	File string `yaml:"-"`
	// Context is the name of the context that was used; "" if there is none.
	Context string `yaml:"-"`
}

// HTTP says how the publisher serves its API.
type HTTP struct {
	// Listen is host:port. Other addresses than loopback need TokenKeysFile. Defaults to
	// 127.0.0.1:8080.
	Listen string `yaml:"listen"`
	// CertFile and KeyFile make it TLS. They are read again when they change.
	// Both or neither.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// TokenKeysFile is a PEM file of administrators' public keys. The tokens that they
	// have signed are valid, and each request needs one. Without it no token is valid,
	// none is asked for, and Listen must be a loopback address.
	TokenKeysFile string `yaml:"token_keys_file"`
	// SessionKeyFile is a PEM file with the key that signs the cookies of people who log
	// in, or with its public half where an administrator makes the logins. Without it an
	// instance that is no gateway makes a key at its start, so that its logins are good
	// there only.
	SessionKeyFile string `yaml:"session_key_file"`
	// OIDC is where people log in, beside tokens. Needs TokenKeysFile.
	OIDC    sessions.OIDC `yaml:"oidc"`
	Console Console       `yaml:"console"`
	// DrainTimeout bounds how long a publisher that ends answers what it has
	// accepted, up to 1h. Defaults to 30s.
	DrainTimeout Duration `yaml:"drain_timeout"`
}

// Console says what the console shows.
type Console struct {
	// Place is a short name of this installation. Defaults to the prefix.
	Place string `yaml:"place"`
}

// Log says what is logged. Logs go to standard error.
type Log struct {
	// Level is trace, debug, info, warn, error or disabled. Defaults to info for
	// what keeps running and to error for commands that end by themselves.
	Level string `yaml:"level"`
	// Format is json, console, or auto: console on a terminal, json elsewhere.
	// Defaults to auto.
	Format string `yaml:"format"`
}

// The log formats.
const (
	FormatAuto    = "auto"
	FormatJSON    = "json"
	FormatConsole = "console"
)

// Storage says what the broker keeps. The sizes and Replicas are used when the
// broker is provisioned, Durability and MaxStore by the embedded broker only.
type Storage struct {
	// Replicas is on how many servers each stream lies: 1, 3 or 5. Defaults to 1.
	Replicas int `yaml:"replicas"`
	// The sizes are reserved at the broker. Defaults: ledger and outcomes 1GiB,
	// dead, parked and acks 256MiB.
	LedgerBytes   channels.Bytes `yaml:"ledger_bytes"`
	OutcomeBytes  channels.Bytes `yaml:"outcome_bytes"`
	DeadBytes     channels.Bytes `yaml:"dead_bytes"`
	ParkedBytes   channels.Bytes `yaml:"parked_bytes"`
	AckBytes      channels.Bytes `yaml:"ack_bytes"`
	OutcomeMaxAge Duration       `yaml:"outcome_max_age"` // of the outcome log. Defaults to 168h.
	// Durability of the embedded broker: process (survives the end of the
	// process) or power (every message is on the disk before it is confirmed).
	// Defaults to process.
	Durability string `yaml:"durability"`
	// MaxStore bounds everything in the embedded broker. Defaults to 16GiB.
	MaxStore channels.Bytes `yaml:"max_store"`
}

// The durabilities.
const (
	DurabilityProcess = "process"
	DurabilityPower   = "power"
)

// Duration is written like 30s or 5m.
type Duration = connectors.Duration

// Worker says how a connector-worker behaves.
type Worker struct {
	// LeaseTTL is how long a worker that fell silent keeps its share: whole
	// seconds, 2s to 30s. Defaults to what suits the broker: 4s on a single server,
	// 10s in a cluster.
	LeaseTTL Duration `yaml:"lease_ttl"`
	// DrainTimeout bounds how long a worker that ends waits for calls in flight,
	// up to 1h. Defaults to 30s.
	DrainTimeout Duration `yaml:"drain_timeout"`
	// StallAfter is for how long a worker may have something to do and settle
	// nothing before it counts as not ready, 1s to 1h. Defaults to 1m.
	StallAfter Duration `yaml:"stall_after"`
}

const (
	defaultURL          = "nats://127.0.0.1:4222"
	defaultDrainTimeout = 30 * time.Second
	defaultStallAfter   = time.Minute
	maxLeaseTTL         = 30 * time.Second // as delivery.MaxLeaseTTL
	callbackPath        = "/v1/session/oidc/callback"
	maxPlace            = 40
	defaultHTTPListen   = "127.0.0.1:8080"
	defaultOutcomeAge   = 7 * 24 * time.Hour
	minStoreBytes       = 1 << 20
)

// Default returns the configuration of a process that is told nothing.
func Default() Config {
	return Config{
		NATS:   broker.Config{URL: defaultURL},
		Prefix: events.DefaultPrefix,
		Log:    Log{Format: FormatAuto},
		Storage: Storage{
			Replicas:      1,
			LedgerBytes:   1 << 30,
			OutcomeBytes:  1 << 30,
			DeadBytes:     256 << 20,
			ParkedBytes:   256 << 20,
			AckBytes:      256 << 20,
			OutcomeMaxAge: Duration(defaultOutcomeAge),
			Durability:    DurabilityProcess,
			MaxStore:      16 << 30,
		},
		Worker: Worker{DrainTimeout: Duration(defaultDrainTimeout), StallAfter: Duration(defaultStallAfter)},
		Allow:  connectors.DefaultAllow(),
		HTTP:   HTTP{Listen: defaultHTTPListen, DrainTimeout: Duration(defaultDrainTimeout)},
		Relay:  Relay{Versions: VersionsNumber, Claims: defaultRelayClaims, StallAfter: Duration(defaultStallAfter)},
	}
}

// ForProvisioning returns the part that channels.Provision wants.
func (s Storage) ForProvisioning() channels.Storage {
	return channels.Storage{
		Replicas:     s.Replicas,
		LedgerBytes:  s.LedgerBytes,
		OutcomeBytes: s.OutcomeBytes,
		DeadBytes:    s.DeadBytes,
		ParkedBytes:  s.ParkedBytes,
		AckBytes:     s.AckBytes,
		OutcomeAge:   s.OutcomeMaxAge.D(),
	}
}

// Names returns the names under the prefix. It fails only if Validate does.
func (c *Config) Names() (events.Names, error) {
	n, err := events.NewNames(c.Prefix)
	if err != nil {
		return n, fmt.Errorf("%w: prefix: %w", connectors.ErrConfig, err)
	}
	return n, nil
}

// Validate checks everything but whether files and the broker are there. The
// error wraps connectors.ErrConfig and names every bad field.
func (c *Config) Validate() error {
	var p connectors.Problems
	c.check(p.Add)
	return p.Err()
}

// check has every problem noted.
func (c *Config) check(bad func(path, format string, args ...any)) {
	var e *schema.Error
	if errors.As(c.NATS.Validate(), &e) {
		for _, one := range e.Problems {
			bad("nats."+one.Path, "%s", one.Message)
		}
	}
	if _, err := events.NewNames(c.Prefix); err != nil {
		bad("prefix", "%v", err)
	}
	if _, err := zerolog.ParseLevel(c.Log.Level); err != nil {
		bad("log.level", "%q is not trace, debug, info, warn, error or disabled", c.Log.Level)
	}
	switch c.Log.Format {
	case FormatAuto, FormatJSON, FormatConsole:
	default:
		bad("log.format", "%q is not %s, %s or %s", c.Log.Format, FormatAuto, FormatJSON, FormatConsole)
	}
	c.Storage.check(bad)
	c.HTTP.check(bad)
	c.Relay.check(bad)
	if d := c.Worker.LeaseTTL.D(); d != 0 && (d < 2*time.Second || d > maxLeaseTTL || d%time.Second != 0) {
		bad("worker.lease_ttl", "%s is not a whole number of seconds in 2s..%s", d, maxLeaseTTL)
	}
	if d := c.Worker.DrainTimeout.D(); d <= 0 || d > time.Hour {
		bad("worker.drain_timeout", "%s is outside 1ns..1h0m0s", d)
	}
	if d := c.Worker.StallAfter.D(); d < time.Second || d > time.Hour {
		bad("worker.stall_after", "%s is outside 1s..1h0m0s", d)
	}
	c.Telemetry.check(bad)
	c.Allow.Check(bad)
}

func (h *HTTP) check(bad func(path, format string, args ...any)) {
	if _, _, err := net.SplitHostPort(h.Listen); err != nil {
		bad("http.listen", "%q is not like 127.0.0.1:8080", h.Listen)
	}
	if (h.CertFile == "") != (h.KeyFile == "") {
		bad("http.cert_file", "cert_file and key_file belong together; one of them is missing")
	}
	h.checkOIDC(bad)
	if n := len(h.Console.Place); n > maxPlace {
		bad("http.console.place", "its length %d is more than %d", n, maxPlace)
	}
	if d := h.DrainTimeout.D(); d <= 0 || d > time.Hour {
		bad("http.drain_timeout", "%s is outside 1ns..1h0m0s", d)
	}
}

func (h *HTTP) checkOIDC(bad func(path, format string, args ...any)) {
	o := &h.OIDC
	if o.Issuer == "" {
		if o.ClientID != "" || o.RedirectURL != "" || len(o.Groups) > 0 {
			bad("http.oidc.issuer", "it is missing")
		}
		return
	}
	for path, text := range map[string]string{"http.oidc.issuer": o.Issuer, "http.oidc.redirect_url": o.RedirectURL} {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil:
			bad(path, "it is not like https://login.example")
		case u.Scheme == "http" && !isLoopback(u.Hostname()):
			bad(path, "over plain http whoever is in between logs in as anybody: use https")
		}
	}
	if !strings.HasSuffix(o.RedirectURL, callbackPath) {
		bad("http.oidc.redirect_url", "it does not end with %s", callbackPath)
	}
	if o.ClientID == "" {
		bad("http.oidc.client_id", "it is missing")
	}
	if len(o.Groups) == 0 {
		bad("http.oidc.groups", "no group has rights: give at least one its scopes")
	}
	o.Groups.Check(func(group, format string, args ...any) { bad("http.oidc.groups."+group, format, args...) })
	if h.TokenKeysFile == "" {
		bad("http.oidc.issuer", "without http.token_keys_file nobody is asked to log in")
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (s *Storage) check(bad func(path, format string, args ...any)) {
	switch s.Replicas {
	case 1, 3, 5:
	default:
		bad("storage.replicas", "%d is not 1, 3 or 5", s.Replicas)
	}
	for _, f := range []struct {
		path string
		size channels.Bytes
	}{
		{"storage.ledger_bytes", s.LedgerBytes},
		{"storage.outcome_bytes", s.OutcomeBytes},
		{"storage.dead_bytes", s.DeadBytes},
		{"storage.parked_bytes", s.ParkedBytes},
		{"storage.ack_bytes", s.AckBytes},
		{"storage.max_store", s.MaxStore},
	} {
		if f.size < minStoreBytes {
			bad(f.path, "%s is less than %s", f.size, channels.Bytes(minStoreBytes))
		}
	}
	if d := s.OutcomeMaxAge.D(); d < time.Hour {
		bad("storage.outcome_max_age", "%s is less than 1h0m0s", d)
	}
	if s.Durability != DurabilityProcess && s.Durability != DurabilityPower {
		bad("storage.durability", "%q is neither %q nor %q", s.Durability, DurabilityProcess, DurabilityPower)
	}
}
