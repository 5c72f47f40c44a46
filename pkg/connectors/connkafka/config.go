package connkafka

import (
	"net"
	"regexp"
	"strconv"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

const (
	securedByTLS = "tls"
	inTheClear   = "plain"

	noLogin   = "none"
	plainSASL = "plain"
	scram256  = "scram-sha-256"
	scram512  = "scram-sha-512"

	fencedByTransactions = "transactions"

	deleteAsDocument = "document"
	deleteAsNull     = "null"

	mustCompact = "compact"
)

// Config is the configuration of a connector of kind kafka.
type Config struct {
	// Brokers are some of the cluster's, to learn of all.
	Brokers []string `yaml:"brokers" required:"true" max:"20" example:"['kafka-1.internal:9093', 'kafka-2.internal:9093']" group:"Brokers" doc:"Some brokers of the cluster, as host:port; one of them must be there to learn of all. Connections then go to the addresses that the brokers advertise."`
	// Security says whether connections are secured by TLS.
	Security string      `yaml:"security" default:"tls" enum:"tls,plain" group:"Brokers" doc:"tls secures connections by TLS. plain sends the updates, and with the mechanism plain the password, in the clear, for brokers in a network of one's own."`
	TLS      connkit.TLS `yaml:"tls" example:"{cert: '${file:/run/extsync/secrets/client.pem}', key: '${file:/run/extsync/secrets/client.key}'}" when:"security=tls" group:"Brokers" doc:"Trusts other authorities than the system's, and shows a certificate of the channel's own."`
	// Mechanism, User and Password log in by SASL.
	Mechanism string         `yaml:"mechanism" default:"none" enum:"none,plain,scram-sha-256,scram-sha-512" group:"Brokers" doc:"Logs in by this mechanism of SASL. none does not log in, or by the certificate of tls alone."`
	User      string         `yaml:"user" required:"true" max:"255" when:"mechanism=plain|scram-sha-256|scram-sha-512" example:"extsync" group:"Brokers" doc:"Logs in as this user. It needs the rights to describe and write the topic, to describe its configuration, and to describe and write the transactional ids."`
	Password  connectors.Ref `yaml:"password" required:"true" when:"mechanism=plain|scram-sha-256|scram-sha-512" reference:"true" example:"${env:CHANNEL_KAFKA_PASSWORD}" group:"Brokers" doc:"The user's password. A wrong one blocks the channel."`
	// AllowCIDRs are the networks besides the public ones in which brokers may be.
	AllowCIDRs []string `yaml:"allow_cidrs" example:"[10.20.0.0/16]" group:"Brokers" doc:"All brokers of the cluster may be in these networks, besides public ones. The worker's operator must allow them, too. Without it only public addresses are connected to."`

	// Topic is written to.
	Topic string `yaml:"topic" required:"true" max:"249" example:"people" group:"Records" doc:"Records go to this topic, which must exist: it is never made. Their key is the update's, and decides the partition as Java's producers do it."`
	// Cleanup says whether the topic must be compacted.
	Cleanup string `yaml:"cleanup" default:"compact" enum:"compact,any" group:"Records" doc:"compact refuses a topic whose cleanup.policy does not say compact: it would lose the newest version of a key with time. any takes every topic, for consumers that want events."`
	// Deletes says what a deleted key has.
	Deletes string `yaml:"deletes" default:"document" enum:"document,null" group:"Records" doc:"document writes a value for a delete, too: the update's payload, or a JSON document with key, version and op. null writes none, by which compaction removes the key in time, and its version with it; a late consumer then learns nothing of it."`
	// Compression is of batches.
	Compression string `yaml:"compression" default:"none" enum:"none,gzip,snappy,lz4,zstd" advanced:"true" group:"Records" doc:"Compresses what is sent together in this way; consumers must know it."`
	// MaxRecordBytes bounds a record.
	MaxRecordBytes int `yaml:"max_record_bytes" default:"1000000" min:"10000" max:"100000000" advanced:"true" group:"Records" doc:"A larger record, and more in one batch, is not sent: the update becomes a dead letter. Set it to the topic's max.message.bytes where that is not the default."`

	// Fence is how a worker that lost its partition is kept from writing.
	Fence string `yaml:"fence" default:"transactions" enum:"transactions,none" group:"Fence" doc:"transactions writes in transactions, so that the broker refuses what a worker sends that was frozen while another one took over. none saves them, and such a worker can put an older version last."`
	// TransactionalID begins the ids.
	TransactionalID string `yaml:"transactional_id" max:"200" when:"fence=transactions" example:"extsync.people" advanced:"true" group:"Fence" doc:"The transactional id of a partition of the channel is this, a dot and its number. Defaults to extsync. and the channel's name. Two installations that write to one cluster need different ones: each would fence the other."`
	// MaxBatch is the most attempts in one call.
	MaxBatch int `yaml:"max_batch" default:"100" min:"1" max:"1000" advanced:"true" group:"Records" doc:"One call has up to so many updates. Calls of a partition of the channel that are under way at once share a transaction."`
}

// legalTopic is what Kafka takes for a name.
var legalTopic = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

func decode(data []byte) (Config, error) {
	var c Config
	var p connectors.Problems
	p.Decode(data, &c)
	p.Check(c)
	if c.Brokers != nil && len(c.Brokers) == 0 {
		p.Add("brokers", "it is empty")
	}
	for _, broker := range c.Brokers {
		host, port, err := net.SplitHostPort(broker)
		if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || host == "" {
			p.Add("brokers", "%q is not host:port", broker)
		} else if err := connectors.CheckHost(host, c.AllowCIDRs); err != nil {
			p.Add("brokers", "%v", err)
		}
	}
	if c.Topic != "" && (!legalTopic.MatchString(c.Topic) || c.Topic == "." || c.Topic == "..") {
		p.Add("topic", "it may have letters, digits, dots, - and _ only")
	}
	if c.Password != "" {
		connkit.MustRefer(&p, "password", c.Password)
	}
	c.TLS.Check(&p)
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	}
	return c, p.Err()
}

// idFor returns what begins the transactional ids of a channel.
func (c *Config) idFor(channel string) string {
	if c.TransactionalID != "" {
		return c.TransactionalID
	}
	return "extsync." + channel
}
