package connmqtt

import (
	"net"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

const (
	secureScheme = "mqtts"
	plainScheme  = "mqtt"

	tombstoneOnDelete = "tombstone"
	removeOnDelete    = "remove"

	// keyPlace is where a topic has the key.
	keyPlace = "{key}"
)

// Config is the configuration of a connector of kind mqtt.
type Config struct {
	// Scheme says whether connections are secured by TLS.
	Scheme string `yaml:"scheme" default:"mqtts" enum:"mqtts,mqtt" group:"Broker" doc:"mqtts secures connections by TLS. mqtt sends the password and the updates in the clear, for brokers in a network of one's own."`
	// Host and Port are where the broker is.
	Host string `yaml:"host" required:"true" format:"host" max:"253" example:"mosquitto.internal" group:"Broker" doc:"The broker's name or address. It must speak MQTT 5, take QoS 1 and keep retained messages; one that does not blocks the channel."`
	Port int    `yaml:"port" min:"1" max:"65535" example:"8883" group:"Broker" doc:"The broker listens at this port. Without it the port is 8883 for mqtts and 1883 for mqtt."`
	// User and Password log in. Both may be empty.
	User     string         `yaml:"user" max:"255" example:"extsync" group:"Broker" doc:"Logs in as this user. It needs the right to publish to the topics, and to subscribe to them and read them for an audit. Without it a client certificate says who we are, or nobody does."`
	Password connectors.Ref `yaml:"password" reference:"true" example:"${env:CHANNEL_MQTT_PASSWORD}" group:"Broker" doc:"The user's password, as a reference to a secret. A wrong one blocks the channel."`
	TLS      connkit.TLS    `yaml:"tls" example:"{cert: '${file:/run/extsync/secrets/client.pem}', key: '${file:/run/extsync/secrets/client.key}'}" when:"scheme=mqtts" group:"Broker" doc:"Trusts other authorities than the system's, and shows a certificate of the channel's own."`
	// AllowCIDRs are the networks besides the public ones in which the broker may be.
	AllowCIDRs []string `yaml:"allow_cidrs" example:"[10.20.0.0/16]" group:"Broker" doc:"The broker may be in these networks, besides public ones. The worker's operator must allow them, too. Without it only public addresses are connected to."`
	// ClientID begins the client id of each connection.
	ClientID string `yaml:"client_id" default:"extsync" max:"64" advanced:"true" group:"Broker" doc:"Begins the client id, for brokers that allow only some. 16 random letters and digits stand behind it: each worker has a client id of its own, so that no broker ends one worker's connection for another one's. With more than 7 characters it is longer than every broker has to take."`
	// Topic has keyPlace where the key is to be.
	Topic string `yaml:"topic" required:"true" max:"200" example:"people/{key}" group:"Messages" doc:"The topic of each key's message, with {key} where the key is to be. Of the key A-Z, a-z, 0-9, - and _ stay, and every other byte is = and two hexadecimal digits, so it is always one level; a name that Windows has for a device (con, lpt1) begins so, too. One that would take more than 128 bytes has the first 62, == and its SHA-256. Two channels must not have one topic: each would replace the other's messages."`
	// OnDelete is what becomes of a deleted key's message.
	OnDelete string `yaml:"on_delete" default:"tombstone" enum:"tombstone,remove" group:"Messages" doc:"tombstone replaces the message of a deleted key by a small JSON document with key, version, digest and op, so that whoever subscribes later sees the delete and its version. remove sends a message without content, for which the broker removes the retained one: who is subscribed sees the delete, who comes later sees nothing, and no version is left."`
	// MaxBatch is the most messages that are on their way in one call.
	MaxBatch int `yaml:"max_batch" default:"100" min:"4" max:"1000" advanced:"true" group:"Messages" doc:"Up to so many messages are sent before the first acknowledgement is waited for. The broker's Receive Maximum bounds how many are on their way at once."`
	// ReadWait is how long a read waits for a message that may not be there.
	ReadWait connectors.Duration `yaml:"read_wait" default:"1s" min:"10ms" max:"30s" advanced:"true" group:"Messages" doc:"When a key is read back, a broker says nothing of a topic without a message. If for so long no further message comes, the rest is taken for missing. With too short a time an audit finds keys missing that are there."`
}

func decode(data []byte) (Config, error) {
	var c Config
	var p connectors.Problems
	p.Decode(data, &c)
	p.Check(c)
	if c.Password != "" {
		connkit.MustRefer(&p, "password", c.Password)
	}
	for _, f := range []struct{ name, value string }{{"user", c.User}, {"client_id", c.ClientID}, {"topic", c.Topic}} {
		if !carried(f.value) {
			p.Add(f.name, "it has characters that MQTT does not carry, such as control characters")
		}
	}
	switch {
	case c.Topic == "":
	case strings.Count(c.Topic, keyPlace) != 1:
		p.Add("topic", "%s must be in it once", keyPlace)
	case strings.ContainsAny(c.Topic, "+#"):
		p.Add("topic", "+ and # stand for other topics, and are in no topic of a message")
	case strings.HasPrefix(c.Topic, "$"):
		p.Add("topic", "topics that begin with $ are the broker's own")
	}
	c.TLS.Check(&p)
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	} else if err := connectors.CheckHost(c.Host, c.AllowCIDRs); err != nil {
		p.Add("host", "%v", err)
	}
	return c, p.Err()
}

func (c *Config) address() string {
	port := c.Port
	if port == 0 {
		port = 8883
		if c.Scheme == plainScheme {
			port = 1883
		}
	}
	return net.JoinHostPort(c.Host, strconv.Itoa(port))
}

// topicOf returns the topic of a key, another one for each.
func (c *Config) topicOf(key string) string {
	return strings.Replace(c.Topic, keyPlace, connkit.KeyName(key, true), 1)
}
