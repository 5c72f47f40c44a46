package connamqp

import (
	"net"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

const (
	secureScheme = "amqps"
	plainScheme  = "amqp"

	declareQuorum = "quorum"
)

// Config is the configuration of a connector of kind amqp.
type Config struct {
	// Scheme says whether connections are secured by TLS.
	Scheme string `yaml:"scheme" default:"amqps" enum:"amqps,amqp" group:"Broker" doc:"amqps secures connections by TLS. amqp sends the password and the updates in the clear, for brokers in a network of one's own."`
	// Host and Port are where the broker is.
	Host string `yaml:"host" required:"true" format:"host" max:"253" example:"rabbitmq.internal" group:"Broker" doc:"The broker's name or address."`
	Port int    `yaml:"port" min:"1" max:"65535" example:"5671" group:"Broker" doc:"The broker listens at this port. Without it the port is 5671 for amqps and 5672 for amqp."`
	// VHost is the virtual host of the broker.
	VHost string `yaml:"vhost" default:"/" max:"255" example:"partners" group:"Broker" doc:"The virtual host that exchange and queues are in. One that is not there, or that the user may not enter, blocks the channel."`
	// User and Password log in.
	User     string         `yaml:"user" required:"true" max:"255" example:"extsync" group:"Broker" doc:"Logs in as this user, by PLAIN. One that may not write to the exchange blocks the channel."`
	Password connectors.Ref `yaml:"password" required:"true" reference:"true" example:"${env:CHANNEL_AMQP_PASSWORD}" group:"Broker" doc:"The user's password."`
	TLS      connkit.TLS    `yaml:"tls" example:"{cert: '${file:/run/extsync/secrets/client.pem}', key: '${file:/run/extsync/secrets/client.key}'}" when:"scheme=amqps" group:"Broker" doc:"Trusts other authorities than the system's, and shows a certificate of the channel's own."`
	// Exchange is published to. Empty: the default exchange, which leads to the queue that
	// RoutingKey names.
	Exchange string `yaml:"exchange" max:"255" example:"people" group:"Messages" doc:"Messages go to this exchange, which must exist. Without it they go to the queue that routing_key names."`
	// RoutingKey is that of each message, or how that of each begins.
	RoutingKey string `yaml:"routing_key" max:"120" example:"people.changed" group:"Messages" doc:"Each message has this routing key; without an exchange it is the name of the queue. A message that no queue takes is returned, and blocks the channel: bind a queue, or give the exchange an alternate one."`
	// AppendKey puts the update's key behind RoutingKey.
	AppendKey bool `yaml:"append_key" group:"Messages" doc:"Puts the update's key behind routing_key, so that bindings and consistent hashes see it: people. and the key P-7 make people.P-7. Of the key A-Z, a-z, 0-9, - and _ stay, and every other byte is = and two hexadecimal digits, as is the first of a name that Windows has for a device (con); so it is always one word. One that would take more than 128 bytes has the first 62, == and its SHA-256."`
	// Declare makes the queue if it is not there.
	Declare string `yaml:"declare" default:"none" enum:"none,quorum" group:"Messages" doc:"quorum makes the queue that routing_key names a durable quorum queue, if it is not there; it needs the right to configure it, and no exchange. A queue of that name with other properties blocks the channel. none expects that somebody else makes it."`
	// MaxBatch is the most messages that are on their way in one call.
	MaxBatch int `yaml:"max_batch" default:"100" min:"4" max:"1000" advanced:"true" group:"Messages" doc:"Up to so many messages are sent before the first confirmation is waited for."`
	// AllowCIDRs are the networks besides the public ones in which the broker may be.
	AllowCIDRs []string `yaml:"allow_cidrs" example:"[10.20.0.0/16]" group:"Broker" doc:"The broker may be in these networks, besides public ones. The worker's operator must allow them, too. Without it only public addresses are connected to."`
}

func decode(data []byte) (Config, error) {
	var c Config
	var p connectors.Problems
	p.Decode(data, &c)
	p.Check(c)
	if c.Password != "" {
		connkit.MustRefer(&p, "password", c.Password)
	}
	if strings.ContainsRune(c.User, 0) {
		p.Add("user", "it has a byte 0")
	}
	switch {
	case c.Exchange == "" && c.RoutingKey == "":
		p.Add("routing_key", "give the name of a queue, or an exchange")
	case c.Exchange == "" && c.AppendKey:
		p.Add("append_key", "it needs an exchange: without one routing_key is the name of a queue")
	case c.Exchange != "" && c.Declare == declareQuorum:
		p.Add("declare", "it is for the queue that routing_key names, which an exchange does not lead to")
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
		port = 5671
		if c.Scheme == plainScheme {
			port = 5672
		}
	}
	return net.JoinHostPort(c.Host, strconv.Itoa(port))
}
