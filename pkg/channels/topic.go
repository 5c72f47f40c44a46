package channels

import (
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/schema"
)

// Topic is the configuration of a topic: a set of the platform's entities, of each of which
// the newest version is kept. Any number of channels read it (Config.From), each for itself:
// an update is published once for all of them, and a channel that is added later gets what
// is there.
type Topic struct {
	// Name is as that of a channel. A channel may have the same.
	Name        string `yaml:"name" json:"name" required:"true" max:"63" example:"policies" group:"Topic" doc:"The topic's name: a lower-case letter or digit, then up to 62 of those, '_' and '-'. Publishers, subjects and tokens go by it, and it cannot be changed."`
	Description string `yaml:"description,omitempty" json:"description,omitempty" max:"1024" example:"Policies of all agencies" group:"Topic" doc:"A text for people. It changes nothing."`
	// MaxBytes bounds what the topic's stream keeps. It is reserved at the broker. Defaults
	// to 64MiB.
	MaxBytes Bytes `yaml:"max_bytes,omitempty" json:"max_bytes" default:"64MiB" min:"1MiB" max:"1TiB" group:"Throughput" doc:"The topic's stream keeps up to so much, reserved at the broker: the newest version of each key. From 80 % on, a topic refuses keys that it does not have (429)."`
	// Quota bounds what publishers of the topic take of what all share.
	Quota TopicQuota `yaml:"quota,omitempty" json:"quota,omitzero" group:"Quota" doc:"Bounds what publishers of the topic take of the servers that all topics and channels share."`
}

// TopicQuota bounds publishing to a topic by the HTTP API, as Quota.Rate and
// Quota.MaxPayload do for a channel.
type TopicQuota struct {
	Rate       float64 `yaml:"rate,omitempty" json:"rate,omitempty" min:"0" max:"1000000" example:"100" doc:"Each instance of the publisher takes up to so many updates a second for the topic by the HTTP API; 0 is no bound. More are refused (429), and their sender must try again."`
	MaxPayload Bytes   `yaml:"max_payload,omitempty" json:"max_payload,omitzero" min:"0" example:"256KiB" doc:"The payload of one update may be so large in the HTTP API; 0 is no bound but the broker's. A larger one is refused (413)."`
}

// WithDefaults returns the configuration with every zero field that has a default filled in.
func (t Topic) WithDefaults() Topic {
	schema.Fill(&t)
	return t
}

// Validate checks a configuration that has its defaults. The error wraps
// connectors.ErrConfig and names every bad field.
func (t *Topic) Validate() error {
	var p connectors.Problems
	p.Check(t)
	checkName(&p, "name", t.Name)
	return p.Err()
}

func checkName(p *connectors.Problems, path, name string) {
	if name != "" && events.CheckChannel(name) != nil {
		p.Add(path, "%q is not a lower-case letter or digit, followed by up to 62 of those, '_' and '-'", name)
	}
}

// From says what a channel reads that has no publishers of its own.
type From struct {
	Topic string `yaml:"topic" json:"topic" required:"true" max:"63" example:"policies" doc:"The topic that the channel reads; it must be there. A channel that is made later than the topic gets the newest version of every key. Another topic is another channel: this cannot be changed."`
	// Keys is how the keys begin that the channel takes; "": it takes all.
	Keys string `yaml:"keys,omitempty" json:"keys,omitempty" max:"256" example:"p-" doc:"The channel takes only keys that begin so; it leaves no trace of the others. After a change it gets the keys that it did not take before, and those that it takes no longer stay at the target as they are."`
}

// Route returns from where the channel reads its updates.
func (c *Config) Route() events.Route {
	if c.From != nil {
		return events.ToTopic(c.From.Topic)
	}
	return events.ToChannel(c.Name)
}

// Reads reports whether the channel reads a topic.
func (c *Config) Reads(topic string) bool { return c.From != nil && c.From.Topic == topic }

// Takes reports whether the channel takes a key of the topic that it reads. One that has
// publishers of its own takes all.
func (c *Config) Takes(key string) bool { return c.From == nil || strings.HasPrefix(key, c.From.Keys) }

// from names the channel's route for people.
func (c *Config) from() string {
	if c.From == nil {
		return "its own publishers"
	}
	return "topic " + c.From.Topic
}

// checkFrom checks what concerns a channel that reads a topic.
func (c *Config) checkFrom(p *connectors.Problems) {
	if c.From == nil {
		return
	}
	checkName(p, "from.topic", c.From.Topic)
	if c.Mode == Every {
		p.Add("mode", "a channel that reads a topic has mode latest: a topic keeps the newest version of each key")
	}
}

// topicStream returns the stream of a topic. What channelStream says of headers holds here,
// too.
func topicStream(names events.Names, e TopicEntry, replicas int) jetstream.StreamConfig {
	route := events.ToTopic(e.Topic.Name)
	source, destination := wire.UpdateTransform(names, route)
	return jetstream.StreamConfig{
		Name:              wire.UpdateStream(names, route),
		Description:       "extsync: updates of topic " + e.Topic.Name,
		Subjects:          []string{source},
		SubjectTransform:  &jetstream.SubjectTransformConfig{Source: source, Destination: destination},
		Storage:           jetstream.FileStorage,
		Discard:           jetstream.DiscardNew,
		Retention:         jetstream.LimitsPolicy,
		MaxMsgsPerSubject: 1,
		MaxBytes:          int64(e.Topic.MaxBytes),
		Duplicates:        duplicateWindow,
		AllowDirect:       true,
		Replicas:          replicas,
	}
}

// topicLoss says what the stream of a topic held.
const topicLoss = "the newest version of every key is lost: let the platform publish them again; channels that are added later, and resync, have nothing to read"
