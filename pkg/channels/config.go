// Package channels holds what a channel is: its configuration, the registry of
// all channels, and the streams behind them.
package channels

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/render"
	"github.com/hms-utl/extsync/pkg/transform"
)

// Mode is what a channel owes its target.
type Mode string

// The delivery modes.
const (
	// Latest delivers the newest version of each key; versions that were
	// replaced before a worker saw them are superseded. The channel's stream is
	// the current state.
	Latest Mode = "latest"
	// Every delivers each version, in order.
	Every Mode = "every"
)

// Config is the configuration of one channel.
type Config struct {
	// Name is a lower-case letter or digit, then up to 62 of those, '_' and '-'.
	Name        string `yaml:"name" json:"name"`
	Description string `yaml:"description,omitempty" json:"description,omitempty"`
	// Mode cannot be changed later. Defaults to latest.
	Mode Mode `yaml:"mode,omitempty" json:"mode"`
	// Paused, where it is given, holds deliveries back or lets them go on; updates
	// are accepted and kept either way. Where it is not, a channel stays as its
	// operators have left it, and a new one is not paused (docs/adr/0035).
	Paused    *bool     `yaml:"paused,omitempty" json:"paused,omitempty"`
	Connector Connector `yaml:"connector" json:"connector"`
	// Filter is a jq expression over the payload; an update for which it gives
	// false, null or nothing is not sent. Deletes always are. Mapping is one that
	// gives the payload to send. What they see is described at package transform.
	// Render writes that in another form than JSON, see package render. All three
	// default to none.
	Filter  string         `yaml:"filter,omitempty" json:"filter,omitempty"`
	Mapping string         `yaml:"mapping,omitempty" json:"mapping,omitempty"`
	Render  *render.Config `yaml:"render,omitempty" json:"render,omitempty"`
	// Partitions is how many workers can share the channel: 1, 4 or 16. Defaults
	// to 1.
	Partitions int `yaml:"partitions,omitempty" json:"partitions"`
	// Concurrency is how many calls to the target run at once, in the whole
	// deployment, 1 to 4096. Defaults to 16.
	Concurrency int `yaml:"concurrency,omitempty" json:"concurrency"`
	// Window is how many updates a worker holds of each partition, 1 to 65536.
	// Defaults to 1024.
	Window int `yaml:"window,omitempty" json:"window"`
	// MaxBytes bounds what the channel's stream keeps. It is reserved at the
	// broker. Defaults to 64MiB.
	MaxBytes Bytes `yaml:"max_bytes,omitempty" json:"max_bytes"`
	// Timeout bounds one attempt, 10ms to 1h. Defaults to 30s.
	Timeout connectors.Duration `yaml:"timeout,omitempty" json:"timeout"`
	Retry   Retry               `yaml:"retry,omitempty" json:"retry"`
	// Rate bounds the updates a second that go to the target, in the whole
	// deployment, up to 1000000. Defaults to 0: no bound.
	Rate float64 `yaml:"rate,omitempty" json:"rate,omitempty"`
	// Quota bounds what the channel takes of what all channels share.
	Quota Quota `yaml:"quota,omitempty" json:"quota,omitzero"`
}

// Quota bounds what a channel takes of what all channels share. What its own stream keeps
// is bounded by Config.MaxBytes.
type Quota struct {
	// Rate is how many updates a second each instance of the publisher takes by the HTTP
	// API, up to 1000000. Defaults to 0: no bound.
	Rate float64 `yaml:"rate,omitempty" json:"rate,omitempty"`
	// MaxPayload bounds the payload of one update in the HTTP API. Defaults to 0: no bound
	// but the broker's.
	MaxPayload Bytes `yaml:"max_payload,omitempty" json:"max_payload,omitzero"`
	// Ledger, DeadLetters and Parked bound what the channel takes of these streams. The room
	// is reserved. Where it is used up what needs more of it waits, with the reason
	// quota_full; nothing is dropped, and no other channel notices. Each partition has its
	// part, of at least 2MiB. Ledger defaults to MaxBytes, the others to a quarter of it.
	Ledger      Bytes `yaml:"ledger,omitempty" json:"ledger,omitzero"`
	DeadLetters Bytes `yaml:"dead_letters,omitempty" json:"dead_letters,omitzero"`
	Parked      Bytes `yaml:"parked,omitempty" json:"parked,omitzero"`
}

// leastShare is the least that a partition has of a shared stream: the largest update that
// a broker takes unless it is told otherwise fits in.
const leastShare = 2 << 20

// Share returns the part of a quota that each of the channel's partitions has.
func (c *Config) Share(quota Bytes) Bytes { return max(quota/Bytes(max(c.Partitions, 1)), leastShare) }

// Connector names the code that writes to the target, with its own settings.
type Connector struct {
	Kind   string `yaml:"kind" json:"kind"`
	Config Raw    `yaml:"config,omitempty" json:"config,omitempty"`
}

// Retry says how a failed attempt is repeated. The delay starts at
// InitialBackoff and doubles up to MaxBackoff, each time with a jitter of half
// of it in either direction.
type Retry struct {
	// MaxAttempts is after how many failed attempts an update becomes a dead
	// letter; attempts while the whole target is down do not count. 1 to 1000.
	// Defaults to 20.
	MaxAttempts int `yaml:"max_attempts,omitempty" json:"max_attempts"`
	// InitialBackoff is 1ms to MaxBackoff. Defaults to 500ms.
	InitialBackoff connectors.Duration `yaml:"initial_backoff,omitempty" json:"initial_backoff"`
	// MaxBackoff is up to 24h. Defaults to 5m.
	MaxBackoff connectors.Duration `yaml:"max_backoff,omitempty" json:"max_backoff"`
	// MaxAge is after how long of failing an update becomes a dead letter, whatever
	// its attempts: 1s to 8760h. Times in which the target was down, the channel
	// paused or no worker there do not count. Defaults to 0: no bound.
	MaxAge connectors.Duration `yaml:"max_age,omitempty" json:"max_age,omitempty"`
	// UnreadyFor is for how long an update is tried that the target cannot take yet
	// (connectors.Unready), 1s to 8760h; then it becomes a dead letter. Only times in which
	// other keys of the channel got through count. Defaults to 15m.
	UnreadyFor connectors.Duration `yaml:"unready_for,omitempty" json:"unready_for"`
}

// Spent reports whether an update that has failed so often, for so long, is given
// up.
func (r *Retry) Spent(attempts int, trying time.Duration) bool {
	return attempts >= r.MaxAttempts || r.MaxAge > 0 && trying >= r.MaxAge.D()
}

// The defaults and limits of a Config.
const (
	defaultConcurrency    = 16
	defaultWindow         = 1024
	defaultMaxBytes       = 64 << 20
	defaultTimeout        = 30 * time.Second
	defaultMaxAttempts    = 20
	defaultInitialBackoff = 500 * time.Millisecond
	defaultMaxBackoff     = 5 * time.Minute
	defaultUnreadyFor     = 15 * time.Minute

	maxDescriptionLen = 1024
	maxRate           = 1_000_000
	minStreamBytes    = 1 << 20
	// maxReserved is the most of each kind that a channel may reserve: the sum over all
	// channels of an installation does not overflow.
	maxReserved = 1 << 40
)

// WithDefaults returns the configuration with every zero field that has a
// default filled in.
func (c Config) WithDefaults() Config {
	setDefault(&c.Mode, Latest)
	setDefault(&c.Partitions, 1)
	setDefault(&c.Concurrency, defaultConcurrency)
	setDefault(&c.Window, defaultWindow)
	setDefault(&c.MaxBytes, defaultMaxBytes)
	setDefault(&c.Timeout, connectors.Duration(defaultTimeout))
	setDefault(&c.Retry.MaxAttempts, defaultMaxAttempts)
	setDefault(&c.Quota.Ledger, c.MaxBytes)
	setDefault(&c.Quota.DeadLetters, c.MaxBytes/4)
	setDefault(&c.Quota.Parked, c.MaxBytes/4)
	setDefault(&c.Retry.InitialBackoff, connectors.Duration(defaultInitialBackoff))
	setDefault(&c.Retry.MaxBackoff, connectors.Duration(defaultMaxBackoff))
	setDefault(&c.Retry.UnreadyFor, connectors.Duration(defaultUnreadyFor))
	return c
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Validate checks a configuration that has its defaults, and the connector's own
// by the catalog. The error wraps connectors.ErrConfig and names every bad
// field.
func (c *Config) Validate(catalog *connectors.Catalog) error {
	var p connectors.Problems
	if err := events.CheckChannel(c.Name); err != nil {
		p.Add("name", "%v", err)
	}
	if len(c.Description) > maxDescriptionLen {
		p.Add("description", "%d bytes are more than %d", len(c.Description), maxDescriptionLen)
	}
	if c.Mode != Latest && c.Mode != Every {
		p.Add("mode", "%q is neither %q nor %q", c.Mode, Latest, Every)
	}
	if err := events.CheckPartitions(c.Partitions); err != nil {
		p.Add("partitions", "%v", err)
	}
	inRange(&p, "concurrency", c.Concurrency, 1, 4096)
	inRange(&p, "window", c.Window, 1, 65536)
	if c.MaxBytes < minStreamBytes || c.MaxBytes > maxReserved {
		p.Add("max_bytes", "%s is outside %s..%s", c.MaxBytes, Bytes(minStreamBytes), Bytes(maxReserved))
	}
	durationInRange(&p, "timeout", c.Timeout, 10*time.Millisecond, time.Hour)
	if !(c.Rate >= 0 && c.Rate <= maxRate) {
		p.Add("rate", "%v is outside 0..%d", c.Rate, maxRate)
	}
	if !(c.Quota.Rate >= 0 && c.Quota.Rate <= maxRate) {
		p.Add("quota.rate", "%v is outside 0..%d", c.Quota.Rate, maxRate)
	}
	if c.Quota.MaxPayload < 0 {
		p.Add("quota.max_payload", "%s is less than 0", c.Quota.MaxPayload)
	}
	for _, q := range []struct {
		name string
		size Bytes
	}{{"ledger", c.Quota.Ledger}, {"dead_letters", c.Quota.DeadLetters}, {"parked", c.Quota.Parked}} {
		if q.size < 0 || q.size > maxReserved {
			p.Add("quota."+q.name, "%s is outside 0..%s", q.size, Bytes(maxReserved))
		}
	}
	inRange(&p, "retry.max_attempts", c.Retry.MaxAttempts, 1, 1000)
	durationInRange(&p, "retry.max_backoff", c.Retry.MaxBackoff, time.Millisecond, 24*time.Hour)
	durationInRange(&p, "retry.initial_backoff", c.Retry.InitialBackoff, time.Millisecond, c.Retry.MaxBackoff.D())
	if c.Retry.MaxAge != 0 {
		durationInRange(&p, "retry.max_age", c.Retry.MaxAge, time.Second, 365*24*time.Hour)
	}
	durationInRange(&p, "retry.unready_for", c.Retry.UnreadyFor, time.Second, 365*24*time.Hour)
	c.Transform().Check(&p)
	if kind, err := catalog.Kind(c.Connector.Kind); err != nil {
		p.Add("connector.kind", "%v", err)
	} else if err := kind.Check(c.Connector.Config); err != nil {
		p.Add("connector.config", "%v", err)
	} else if kind.NeedsJSON != nil && kind.NeedsJSON(c.Connector.Config) && c.Render != nil && !events.IsJSON(c.Render.Type()) {
		p.Add("render.format", "the connector, as it is configured, takes JSON only")
	}
	return p.Err()
}

// Transform returns what the channel does to its updates before its connector sees them.
func (c *Config) Transform() transform.Config {
	return transform.Config{Filter: c.Filter, Mapping: c.Mapping, Render: c.Render}
}

func inRange(p *connectors.Problems, path string, v, low, high int) {
	if v < low || v > high {
		p.Add(path, "%d is outside %d..%d", v, low, high)
	}
}

func durationInRange(p *connectors.Problems, path string, v connectors.Duration, low, high time.Duration) {
	if d := v.D(); d < low || d > high {
		p.Add(path, "%s is outside %s..%s", d, low, high)
	}
}

// Raw is a connector's own configuration as JSON. Its kind decodes it.
type Raw []byte

// NewRaw returns the JSON form of a value, for programs that build a Config. It
// panics if the value has none: that is a mistake in the program.
func NewRaw(v any) Raw {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("connector configuration: %v", err))
	}
	return data
}

// MarshalJSON returns the JSON itself, null if there is none.
func (r Raw) MarshalJSON() ([]byte, error) {
	if len(r) == 0 {
		return []byte("null"), nil
	}
	return r, nil
}

// UnmarshalJSON keeps the JSON as it is.
func (r *Raw) UnmarshalJSON(b []byte) error {
	*r = append((*r)[:0], b...)
	return nil
}

// UnmarshalYAML takes any YAML value.
func (r *Raw) UnmarshalYAML(node *yaml.Node) error {
	var v any
	if err := node.Decode(&v); err != nil {
		return err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: connector.config: only text may be a key", connectors.ErrConfig)
	}
	*r = data
	return nil
}

// MarshalYAML writes the value as YAML.
func (r Raw) MarshalYAML() (any, error) {
	if len(r) == 0 {
		return nil, nil
	}
	// JSON is YAML, and YAML keeps whole numbers whole.
	var node yaml.Node
	if err := yaml.Unmarshal(r, &node); err != nil {
		return nil, err
	}
	clearStyle(&node)
	return node.Content[0], nil
}

// clearStyle lets the encoder write block style instead of JSON's braces.
func clearStyle(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		clearStyle(c)
	}
}

// MaxChannelsPerFile bounds a file of channel configurations.
const MaxChannelsPerFile = 10_000

// DecodeFile reads a file of channels: a YAML (or JSON) document with one field,
// channels, that lists them. Unknown and repeated fields are refused. The
// configurations come back with their defaults, not yet validated.
func DecodeFile(data []byte) ([]Config, error) {
	var file struct {
		Channels []Config `yaml:"channels"`
	}
	if err := connectors.DecodeStrict(data, &file); err != nil {
		return nil, err
	}
	if len(file.Channels) == 0 {
		return nil, fmt.Errorf("%w: channels: the list is empty or missing", connectors.ErrConfig)
	}
	if len(file.Channels) > MaxChannelsPerFile {
		return nil, fmt.Errorf("%w: channels: %d are more than %d", connectors.ErrConfig, len(file.Channels), MaxChannelsPerFile)
	}
	seen := make(map[string]bool, len(file.Channels))
	for i := range file.Channels {
		c := file.Channels[i].WithDefaults()
		if seen[c.Name] {
			return nil, fmt.Errorf("%w: channels[%d].name: %q is there twice", connectors.ErrConfig, i, c.Name)
		}
		seen[c.Name] = true
		file.Channels[i] = c
	}
	return file.Channels, nil
}

// ValidateAll validates every configuration and joins what is wrong, each with
// its channel's name.
func ValidateAll(configs []Config, catalog *connectors.Catalog) error {
	var errs []error
	for i := range configs {
		if err := configs[i].Validate(catalog); err != nil {
			errs = append(errs, fmt.Errorf("channels[%d] %q: %w", i, configs[i].Name, err))
		}
	}
	return errors.Join(errs...)
}
