package connredis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// The layouts.
const (
	hashLayout  = "hash"
	valueLayout = "value"
)

// maxPrefix bounds the prefix, in bytes.
const maxPrefix = 256

// Config is the connector.config of a channel.
type Config struct {
	// URL is the server: redis://host:port/database, or rediss:// for TLS.
	URL string `yaml:"url" json:"url" required:"true" format:"url" example:"rediss://cache.example:6379/0" group:"Server" doc:"The server, as redis://host:port/database, or rediss:// for TLS. The port is 6379 and the database 0 if they are not given. A user or a password in it is refused."`
	// Cluster says that the server is one of a cluster.
	Cluster bool `yaml:"cluster" json:"cluster,omitempty" group:"Server" doc:"The server is one of a cluster, whose others it names. Without it updates of keys at the others fail with MOVED, and become dead letters in time."`
	// Nodes are further servers of the cluster to begin with.
	Nodes []string `yaml:"nodes" json:"nodes,omitempty" max:"100" example:"['cache-2.example:6379', 'cache-3.example:6379']" group:"Server" doc:"Further servers of the cluster, as host:port; only with cluster. One of them and of url must be there to learn of all."`
	// Username and Password are of an ACL user, or the password of the server alone.
	Username string         `yaml:"username" json:"username,omitempty" max:"256" example:"extsync" group:"Server" doc:"The user of the server. It needs the commands eval, evalsha, hget, hmget, hset, hdel, exists, persist and pexpire on all keys with the prefix; in the layout value also get, set and del, and all keys with a brace and the prefix; in a cluster also cluster and asking. Without it the password is that of the default user."`
	Password connectors.Ref `yaml:"password" json:"password,omitempty" reference:"true" example:"${env:CHANNEL_REDIS_PASSWORD}" group:"Server" doc:"The password, as a reference to a secret. A wrong one blocks the channel."`

	// Prefix begins the names of all keys.
	Prefix *string `yaml:"prefix" json:"prefix,omitempty" max:"256" example:"'policies:'" group:"Keys" doc:"Begins the name of each key at the server. Defaults to the channel's name and a colon. Two channels must not have one prefix: each would take the other's keys for its own. In a cluster a part in braces puts all keys into one slot, and so onto one server."`
	// Layout is hash, all in one hash, or value, the payload as a string at the key.
	Layout string `yaml:"layout" json:"layout,omitempty" default:"hash" enum:"hash,value" group:"Keys" doc:"hash keeps a key's version, digest, operation and payload as the fields v, d, op and data of one hash. value keeps the payload as the string at the key, for readers that know no hashes, and the rest in a hash beside it, whose name ends with :sync; the name of a payload that would end so, too, has a colon more."`
	// Adopt takes over what is there and has no version.
	Adopt bool `yaml:"adopt" json:"adopt,omitempty" group:"Keys" doc:"Takes keys over that were there before, and have no version, at their first write. Without it they are conflicts, since the platform did not write them. A key of another type stays a conflict."`
	// TombstoneTTL is how long a deleted key keeps its version; 0: for ever.
	TombstoneTTL connectors.Duration `yaml:"tombstone_ttl" json:"tombstone_ttl,omitempty" min:"0s" max:"87600h" example:"30d" group:"Keys" doc:"A deleted key keeps its version for so long; an older update that comes after that brings the key back. Without it the version stays for ever, and takes some 200 bytes."`

	// TLS is for rediss.
	TLS connkit.TLS `yaml:"tls" json:"tls,omitzero" example:"{cert: '${file:/run/extsync/secrets/client.pem}', key: '${file:/run/extsync/secrets/client.key}'}" group:"Connection" doc:"How a rediss:// server is checked, and what is shown to it."`
	// AllowCIDRs are the networks, out of those that are not public, in which the servers
	// may be.
	AllowCIDRs []string `yaml:"allow_cidrs" json:"allow_cidrs,omitempty" example:"[10.20.0.0/16]" group:"Connection" doc:"The server, and all of a cluster, may be in these networks, besides public ones. The worker's operator must allow them, too. Without it only public addresses are connected to."`
	// MaxBatch is the most updates that are sent before the first answer is read.
	MaxBatch int `yaml:"max_batch" json:"max_batch,omitempty" default:"100" min:"1" max:"1000" advanced:"true" group:"Connection" doc:"So many updates go to the server at once, each with an answer of its own. Many are quicker where the server is far away, and make others wait longer."`
}

// decode reads a configuration strictly, fills the defaults in and validates it.
func decode(data []byte) (Config, error) {
	var c Config
	var p connectors.Problems
	p.Decode(data, &c)
	c.check(&p)
	return c, p.Err()
}

func (c *Config) check(p *connectors.Problems) {
	p.Check(c)
	at, err := parseURL(c.URL)
	switch {
	case c.URL == "":
	case err != nil:
		p.Add("url", "%v", err)
	case c.Cluster && at.database != 0:
		p.Add("url", "a cluster has the database 0 only")
	case !at.secure && c.TLS != (connkit.TLS{}):
		p.Add("tls", "it is for rediss:// only")
	}
	if len(c.Nodes) > 0 && !c.Cluster {
		p.Add("nodes", "it is for cluster: true only")
	}
	for _, node := range c.Nodes {
		if _, port, err := net.SplitHostPort(node); err != nil || !isPort(port) {
			p.Add("nodes", "%q is not host:port", node)
		}
	}
	if c.Username != "" && c.Password == "" {
		p.Add("password", "username needs it")
	}
	if c.Prefix != nil && len(*c.Prefix) > maxPrefix {
		p.Add("prefix", "it is longer than %d bytes", maxPrefix)
	}
	c.TLS.Check(p)
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	}
}

// prefixFor returns what begins the keys of a channel.
func (c *Config) prefixFor(channel string) string {
	if c.Prefix != nil {
		return *c.Prefix
	}
	return channel + ":"
}

// An address is what a URL says.
type address struct {
	host     string // with its port
	database int
	secure   bool
}

func parseURL(text string) (address, error) {
	if connectors.Ref(text).HasReference() {
		return address{}, errors.New("it must not hold a secret; password is the place for it")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return address{}, errors.New("it is not a URL")
	case u.Scheme != "redis" && u.Scheme != "rediss" || u.Hostname() == "" || u.Opaque != "":
		return address{}, errors.New("it must be redis://host:port/database or rediss://host:port/database")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return address{}, errors.New("it must not hold a user, a password, a query or a fragment")
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	out := address{host: net.JoinHostPort(u.Hostname(), port), secure: u.Scheme == "rediss"}
	if !isPort(port) {
		return address{}, fmt.Errorf("%q is no port", port)
	}
	if path := strings.TrimPrefix(u.Path, "/"); path != "" {
		if out.database, err = strconv.Atoi(path); err != nil || out.database < 0 || out.database > 1<<20 {
			return address{}, fmt.Errorf("%q is no number of a database", path)
		}
	}
	return out, nil
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}
