// Package channels holds what a channel is: its configuration, the registry of
// all channels, and the streams behind them.
package channels

import (
	"encoding/json"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/redact"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/render"
	"github.com/hms-utl/extsync/pkg/schema"
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

// OnUnmatch says what becomes of a key at the target that no longer passes the filter.
type OnUnmatch string

// What becomes of it.
const (
	LeaveUnmatched  OnUnmatch = "leave"
	DeleteUnmatched OnUnmatch = "delete"
)

// Config is the configuration of one channel.
type Config struct {
	// Name is a lower-case letter or digit, then up to 62 of those, '_' and '-'.
	Name        string `yaml:"name" json:"name" required:"true" max:"63" example:"erp_db" group:"Channel" doc:"The channel's name: a lower-case letter or digit, then up to 62 of those, '_' and '-'. Publishers, subjects, tokens and metrics go by it, and it cannot be changed: another name is another channel, which starts empty."`
	Description string `yaml:"description,omitempty" json:"description,omitempty" max:"1024" example:"Appointments, in the calendar of the agency" group:"Channel" doc:"A text for people. It changes nothing."`
	// Mode cannot be changed later. Defaults to latest.
	Mode Mode `yaml:"mode,omitempty" json:"mode" default:"latest" enum:"latest,every" group:"Channel" doc:"latest sends the newest version of each key; versions that were replaced before their turn are superseded. every sends each version, in order; one that cannot be delivered holds its key up until it is a dead letter. The mode cannot be changed later."`
	// Paused, where it is given, holds deliveries back or lets them go on; updates
	// are accepted and kept either way. Where it is not, a channel stays as its
	// operators have left it, and a new one is not paused (docs/adr/0035).
	Paused *bool `yaml:"paused,omitempty" json:"paused,omitempty" group:"Channel" doc:"true holds deliveries back, false lets them go on; updates are accepted and kept either way. Without it the channel stays as operators have left it. With false in a file, each apply ends a pause that somebody has made on purpose."`
	// From, where it is given, has the channel read a topic; then it has no publishers of its
	// own. It cannot be changed later, but for From.Keys.
	From      *From     `yaml:"from,omitempty" json:"from,omitempty" group:"Channel" example:"{topic: policies}" doc:"Has the channel read a topic, as any number of channels do; then it has no publishers of its own. Without it, updates are published to the channel."`
	Connector Connector `yaml:"connector" json:"connector" required:"true" group:"Connector" doc:"The code that writes to the target, with its settings."`
	// Filter is a jq expression over the payload; an update for which it gives
	// false, null or nothing is not sent. Deletes always are. Mapping is one that
	// gives the payload to send. What they see is described at package transform.
	// Render writes that in another form than JSON, see package render. All three
	// default to none.
	Filter string `yaml:"filter,omitempty" json:"filter,omitempty" format:"jq" example:".agency == \"north\"" group:"Content" doc:"A jq expression over the payload. An update for which it gives false, null or nothing is not sent, and ends as delivered with the code filtered; deletes are always sent. An entity that matched once and no longer does stays at the target as it was, unless on_unmatch says otherwise."`
	// OnUnmatch says what becomes, at the target, of a key that has passed the filter before
	// and does so no longer; "" is leave.
	OnUnmatch OnUnmatch      `yaml:"on_unmatch,omitempty" json:"on_unmatch,omitempty" enum:"leave,delete" group:"Content" doc:"leave, as without it: an entity that no longer passes the filter stays at the target as it was. delete: it is deleted there, and its update ends as delivered with the code removed. A key that the target never had is not deleted, as far as the ledger or the target itself can tell. After a change of the filter, a resync deletes what passes no longer."`
	Mapping   string         `yaml:"mapping,omitempty" json:"mapping,omitempty" format:"jq" example:"{id, name: .title}" group:"Content" doc:"A jq expression that gives the payload to send. An update for which it fails is a dead letter. After a change the target still holds the payloads of the old one: run 'extsync resync'."`
	Render    *render.Config `yaml:"render,omitempty" json:"render,omitempty" group:"Content" example:"{format: csv}" doc:"Writes the mapping's result in another form than JSON. The payload must be JSON."`
	// Redact lists the paths of fields whose values people do not see, as package redact
	// takes them. Targets get them.
	Redact []string `yaml:"redact,omitempty" json:"redact,omitempty" max:"100" example:"[.ssn, .person.ssn]" group:"Content" doc:"The HTTP API and the console show no values at these paths, whether in payloads, in what is sent or in what a target holds; targets get them. .people.ssn is the field of each element where people is an array. Values that the mapping moves need the path that they have then, too. A payload that is not JSON is not shown at all."`
	// Partitions is how many workers can share the channel: 1, 4 or 16. Defaults
	// to 1.
	Partitions int `yaml:"partitions,omitempty" json:"partitions" default:"1" enum:"1,4,16" group:"Throughput" doc:"Up to so many workers share the channel. A change waits until nothing is in flight. More of them than the target can bear only cost connections and room at the broker."`
	// Concurrency is how many calls to the target run at once, in the whole
	// deployment, 1 to 4096. Defaults to 16.
	Concurrency int `yaml:"concurrency,omitempty" json:"concurrency" default:"16" min:"1" max:"4096" group:"Throughput" doc:"Up to so many calls to the target run at once, in the whole deployment. Too many make the target throttle or fail; too few make updates late."`
	// Window is how many updates a worker holds of each partition, 1 to 65536.
	// Defaults to 1024.
	Window int `yaml:"window,omitempty" json:"window" default:"1024" min:"1" max:"65536" advanced:"true" group:"Throughput" doc:"A worker holds up to so many updates of each partition. With fewer than concurrency and batches need, calls wait for the broker; more of them take more memory."`
	// MaxBytes bounds what the channel's stream keeps. It is reserved at the
	// broker. Defaults to 64MiB.
	MaxBytes Bytes `yaml:"max_bytes,omitempty" json:"max_bytes" default:"64MiB" min:"1MiB" max:"1TiB" group:"Throughput" doc:"The channel's stream keeps up to so much, reserved at the broker: in mode latest the newest version of each key, in mode every all that is not yet delivered. A full channel refuses updates (429); one that is larger than the broker's room cannot be made."`
	// Timeout bounds one attempt, 10ms to 1h. Defaults to 30s.
	Timeout connectors.Duration `yaml:"timeout,omitempty" json:"timeout" default:"30s" min:"10ms" max:"1h" group:"Throughput" doc:"One attempt may take so long. It is ended then and repeated, although the target may have done it: below the target's slowest good answer, every attempt fails."`
	Retry   Retry               `yaml:"retry,omitempty" json:"retry" group:"Retries" doc:"Repeats failed attempts, and says when an update is given up."`
	// Rate bounds the updates a second that go to the target, in the whole
	// deployment, up to 1000000. Defaults to 0: no bound.
	Rate float64 `yaml:"rate,omitempty" json:"rate,omitempty" min:"0" max:"1000000" example:"50" group:"Throughput" doc:"Up to so many updates a second go to the target, in the whole deployment; 0 is no bound. If more are published, the channel falls behind until it is full."`
	// Quota bounds what the channel takes of what all channels share.
	Quota Quota `yaml:"quota,omitempty" json:"quota,omitzero" group:"Quota" doc:"Bounds the channel's part of the streams and servers that all channels share."`
}

// Quota bounds what a channel takes of what all channels share. What its own stream keeps
// is bounded by Config.MaxBytes.
type Quota struct {
	// Rate is how many updates a second each instance of the publisher takes by the HTTP
	// API, up to 1000000. Defaults to 0: no bound.
	Rate float64 `yaml:"rate,omitempty" json:"rate,omitempty" min:"0" max:"1000000" example:"100" doc:"Each instance of the publisher takes up to so many updates a second for the channel by the HTTP API; 0 is no bound. More are refused (429), and their sender must try again."`
	// MaxPayload bounds the payload of one update in the HTTP API. Defaults to 0: no bound
	// but the broker's.
	MaxPayload Bytes `yaml:"max_payload,omitempty" json:"max_payload,omitzero" min:"0" example:"256KiB" doc:"The payload of one update may be so large in the HTTP API; 0 is no bound but the broker's. A larger one is refused (413)."`
	// Ledger, DeadLetters and Parked bound what the channel takes of these streams. The room
	// is reserved. Where it is used up what needs more of it waits, with the reason
	// quota_full; nothing is dropped, and no other channel notices. Each partition has its
	// part, of at least 2MiB. Ledger defaults to MaxBytes, the others to a quarter of it.
	Ledger      Bytes `yaml:"ledger,omitempty" json:"ledger,omitzero" min:"0" max:"1TiB" example:"64MiB" advanced:"true" doc:"The channel's part of the ledger, which has a record of each key; reserved. Defaults to max_bytes. Where it is used up, new keys wait with the reason quota_full."`
	DeadLetters Bytes `yaml:"dead_letters,omitempty" json:"dead_letters,omitzero" min:"0" max:"1TiB" example:"16MiB" advanced:"true" doc:"The channel's part of the dead letters; reserved. Defaults to a quarter of max_bytes. Where it is used up, an update that is to be given up waits with the reason quota_full, and holds up its key."`
	Parked      Bytes `yaml:"parked,omitempty" json:"parked,omitzero" min:"0" max:"1TiB" example:"16MiB" advanced:"true" doc:"The channel's part of the parked updates, which make room for others while they wait; reserved. Defaults to a quarter of max_bytes. Where it is used up, failing updates stay in the window, and others wait behind them with the reason quota_full."`
}

// leastShare is the least that a partition has of a shared stream: the largest update that
// a broker takes unless it is told otherwise fits in.
const leastShare = 2 << 20

// Share returns the part of a quota that each of the channel's partitions has.
func (c *Config) Share(quota Bytes) Bytes { return max(quota/Bytes(max(c.Partitions, 1)), leastShare) }

// Connector names the code that writes to the target, with its own settings.
type Connector struct {
	Kind   string `yaml:"kind" json:"kind" required:"true" example:"http" doc:"The kind of the target; 'extsync kinds' lists them. After a change the target is another one: run 'extsync resync'."`
	Config Raw    `yaml:"config,omitempty" json:"config,omitempty" example:"{url: https://target.example/in}" doc:"The settings of the kind; 'extsync kinds NAME' lists them."`
}

// Retry says how a failed attempt is repeated. The delay starts at
// InitialBackoff and doubles up to MaxBackoff, each time with a jitter of half
// of it in either direction.
type Retry struct {
	// MaxAttempts is after how many failed attempts an update becomes a dead
	// letter; attempts while the whole target is down do not count. 1 to 1000.
	// Defaults to 20.
	MaxAttempts int `yaml:"max_attempts,omitempty" json:"max_attempts" default:"20" min:"1" max:"1000" doc:"After so many failed attempts an update becomes a dead letter; attempts while the whole target is down do not count. With too few, an operator must mend what would have cured itself."`
	// InitialBackoff is 1ms to MaxBackoff. Defaults to 500ms.
	InitialBackoff connectors.Duration `yaml:"initial_backoff,omitempty" json:"initial_backoff" default:"500ms" min:"1ms" max:"24h" doc:"The second attempt waits so long; each further one waits twice as long, up to max_backoff, with a jitter of half of it. Very short waits press a target that is in trouble already."`
	// MaxBackoff is up to 24h. Defaults to 5m.
	MaxBackoff connectors.Duration `yaml:"max_backoff,omitempty" json:"max_backoff" default:"5m" min:"1ms" max:"24h" doc:"An attempt waits so long at most, and no less than initial_backoff. Long waits make an update late after its target has recovered."`
	// MaxAge is after how long of failing an update becomes a dead letter, whatever
	// its attempts: 1s to 8760h. Times in which the target was down, the channel
	// paused or no worker there do not count. Defaults to 0: no bound.
	MaxAge connectors.Duration `yaml:"max_age,omitempty" json:"max_age,omitempty" min:"1s" max:"8760h" example:"48h" advanced:"true" doc:"After so long of failing an update becomes a dead letter, whatever its attempts; without it there is no such bound. Times in which the target was down, the channel paused or no worker there do not count."`
	// UnreadyFor is for how long an update is tried that the target cannot take yet
	// (connectors.Unready), 1s to 8760h; then it becomes a dead letter. Only times in which
	// other keys of the channel got through count. Defaults to 15m.
	UnreadyFor connectors.Duration `yaml:"unready_for,omitempty" json:"unready_for" default:"15m" min:"1s" max:"8760h" doc:"An update that the target cannot take yet, such as one whose parent is not there, is tried for so long; then it becomes a dead letter. Only times in which other keys got through count. It must be longer than the longest wait that is normal."`
}

// Spent reports whether an update that has failed so often, for so long, is given
// up.
func (r *Retry) Spent(attempts int, trying time.Duration) bool {
	return attempts >= r.MaxAttempts || r.MaxAge > 0 && trying >= r.MaxAge.D()
}

// WithDefaults returns the configuration with every zero field that has a
// default filled in.
func (c Config) WithDefaults() Config {
	schema.Fill(&c)
	setDefault(&c.Quota.Ledger, c.MaxBytes)
	setDefault(&c.Quota.DeadLetters, c.MaxBytes/4)
	setDefault(&c.Quota.Parked, c.MaxBytes/4)
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
	p.Check(c)
	checkName(&p, "name", c.Name)
	c.checkFrom(&p)
	if c.OnUnmatch == DeleteUnmatched && c.Filter == "" {
		p.Add("on_unmatch", "without a filter every update is sent: add filter, or leave this out")
	}
	if r := c.Retry; r.InitialBackoff > r.MaxBackoff {
		p.Add("retry.initial_backoff", "%s is more than max_backoff, which is %s", r.InitialBackoff.D(), r.MaxBackoff.D())
	}
	c.Transform().Check(&p)
	for i, path := range c.Redact {
		if err := redact.Check(path); err != nil {
			p.Add(fmt.Sprintf("redact[%d]", i), "%s", err)
		}
	}
	c.checkConnector(&p, catalog)
	return p.Err()
}

func (c *Config) checkConnector(p *connectors.Problems, catalog *connectors.Catalog) {
	if c.Connector.Kind == "" {
		return // said already
	}
	kind, err := catalog.Kind(c.Connector.Kind)
	if err != nil {
		p.Add("connector.kind", "%s", schema.NoneOf(c.Connector.Kind, catalog.Names()))
		return
	}
	if err := kind.Check(c.Connector.Config); err != nil {
		p.AddError("connector.config", err)
	} else if kind.NeedsJSON != nil && kind.NeedsJSON(c.Connector.Config) && c.Render != nil && !events.IsJSON(c.Render.Type()) {
		p.Add("render.format", "the connector, as it is configured, takes JSON only")
	}
}

// Transform returns what the channel does to its updates before its connector sees them.
func (c *Config) Transform() transform.Config {
	return transform.Config{Filter: c.Filter, Mapping: c.Mapping, Render: c.Render, Removes: c.OnUnmatch == DeleteUnmatched}
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
