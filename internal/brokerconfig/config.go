package brokerconfig

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"text/template"

	"github.com/nats-io/nkeys"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// Options say what server the configuration is for. Paths and addresses are as
// the server sees them.
type Options struct {
	Scope
	// Keys holds the public nkey of every role. Required.
	Keys map[Role]string
	// OldKeys holds public nkeys that are valid beside those of Keys, while a role's
	// processes change from one to the other.
	OldKeys map[Role]string
	// Server is the server's name, unlike that of any other in its cluster.
	// Defaults to "extsync-1".
	Server string
	// Listen is the address for clients. Defaults to "127.0.0.1:4222".
	Listen string
	// Monitor is the address of the server's health and monitoring pages. They
	// need no password, so it must be a loopback address. Defaults to none.
	Monitor string
	// StoreDir holds the streams. Required.
	StoreDir string
	// MaxStore bounds all streams together. Defaults to 16GiB.
	MaxStore channels.Bytes
	// Power makes the server write every message to the disk before it confirms
	// it; else a power failure can take what was stored in the last seconds.
	Power bool
	// TLS is how clients and other servers are met: both must show a certificate.
	// The zero TLS encrypts nothing and is refused unless Listen is a loopback
	// address.
	TLS TLS
	// Cluster names the hosts of all servers of the cluster, this one too. Empty:
	// a single server.
	Cluster []string
}

// TLS names the PEM files of a server.
type TLS struct{ CA, Cert, Key string }

const (
	defaultServer   = "extsync-1"
	defaultListen   = "127.0.0.1:4222"
	defaultMaxStore = 16 << 30
	clusterPort     = 6222
)

// Write checks the options and writes the server's configuration. The error wraps
// connectors.ErrConfig and names everything that is wrong.
func Write(w io.Writer, o Options) error {
	if o.Server == "" {
		o.Server = defaultServer
	}
	if o.Listen == "" {
		o.Listen = defaultListen
	}
	if o.MaxStore == 0 {
		o.MaxStore = defaultMaxStore
	}
	if err := o.check(); err != nil {
		return err
	}
	page, err := template.New("nats.conf").Funcs(template.FuncMap{"quote": strconv.Quote}).Parse(text)
	if err != nil {
		return err
	}
	return page.Execute(w, &o)
}

func (o *Options) check() error {
	var p connectors.Problems
	if len(o.Channels) == 0 {
		p.Add("channels", "name at least one")
	}
	for _, c := range o.Channels {
		if err := events.CheckChannel(c); err != nil {
			p.Add("channels", "%v", err)
		}
	}
	for _, t := range o.Topics {
		if err := events.CheckTopic(t); err != nil {
			p.Add("topics", "%v", err)
		}
	}
	for _, s := range o.Services {
		if _, err := o.Names.ServiceAcks(s); err != nil {
			p.Add("services", "%v", err)
		}
	}
	o.checkGroups(&p)
	for _, r := range o.Roles() {
		if !nkeys.IsValidPublicUserKey(o.Keys[r]) {
			p.Add("keys", "that of the %s is no public user nkey", r)
		}
	}
	for r, key := range o.OldKeys {
		if !nkeys.IsValidPublicUserKey(key) || key == o.Keys[r] {
			p.Add("keys", "the old one of the %s is no public user nkey, or is the new one", r)
		}
	}
	if o.StoreDir == "" {
		p.Add("store_dir", "it is missing")
	}
	if o.TLS != (TLS{}) && (o.TLS.CA == "" || o.TLS.Cert == "" || o.TLS.Key == "") {
		p.Add("tls", "the authority, the certificate and its key belong together")
	}
	if o.MaxStore < 0 {
		p.Add("max_store", "it is below 0")
	}
	o.checkAddresses(&p)
	for _, t := range []string{o.Server, o.StoreDir, o.TLS.CA, o.TLS.Cert, o.TLS.Key} {
		if strings.ContainsFunc(t, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == 0x7f }) {
			p.Add("paths", "%q has a character that the server's configuration cannot hold", t)
		}
	}
	return p.Err()
}

func (o *Options) checkAddresses(p *connectors.Problems) {
	local, err := loopback(o.Listen)
	switch {
	case err != nil:
		p.Add("listen", "%v", err)
	case !local && o.TLS == (TLS{}):
		p.Add("listen", "%s can be reached from other machines: give certificates", o.Listen)
	}
	if o.Monitor != "" {
		if local, err := loopback(o.Monitor); err != nil || !local {
			p.Add("monitor", "%q is not a port at a loopback address", o.Monitor)
		}
	}
	for _, host := range o.Cluster {
		if host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`/:@"\`, r) }) {
			p.Add("cluster", "%q is not the name of a host", host)
		}
	}
	if len(o.Cluster) > 0 && o.TLS == (TLS{}) {
		p.Add("cluster", "its servers know each other by their certificates: give certificates")
	}
}

// loopback reports whether only this machine can reach an address.
func loopback(address string) (bool, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return false, fmt.Errorf("%q is not host:port", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false, fmt.Errorf("%q is not host:port", address)
	}
	if strings.ContainsAny(host, `"\ `) {
		return false, errors.New("the host is no host name")
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback(), nil
}

// A User is one key of one role.
type User struct {
	Role Role
	Key  string
	Old  bool
	Permissions
}

// Answers reports whether the user answers requests: its answers go wherever these say.
func (u User) Answers() bool { return u.Role == Worker || u.Role == Admin }

// StoreBytes returns the bound of all streams for the template.
func (o *Options) StoreBytes() int64 { return int64(o.MaxStore) }

// Routes returns where the servers of the cluster find each other.
func (o *Options) Routes() []string {
	out := make([]string, len(o.Cluster))
	for i, host := range o.Cluster {
		out[i] = "nats-route://" + net.JoinHostPort(host, strconv.Itoa(clusterPort))
	}
	return out
}

// ClusterListen is where this server waits for the others.
func (*Options) ClusterListen() string { return net.JoinHostPort("0.0.0.0", strconv.Itoa(clusterPort)) }

// text is the configuration. What it holds is checked before: no value can end
// its quotes.
const text = `# Made by 'extsync broker-config'. Make it again when channels come or go, and
# let the server read it with 'nats-server --signal reload': no client is cut off
# but those whose permissions change, and those connect again by themselves.
server_name: {{quote .Server}}
listen: {{quote .Listen}}
{{- if .Monitor}}
http: {{quote .Monitor}}
{{- end}}
max_payload: 1MB
# A key of 200 bytes and its subject fit many times.
max_control_line: 4KB
write_deadline: "10s"
lame_duck_duration: "30s"
lame_duck_grace_period: "5s"
{{- if .TLS.CA}}

# Clients must show a certificate of the authority, and prove their nkey.
tls {
  ca_file: {{quote .TLS.CA}}
  cert_file: {{quote .TLS.Cert}}
  key_file: {{quote .TLS.Key}}
  verify: true
  min_version: "1.3"
}
{{- end}}

jetstream {
  store_dir: {{quote .StoreDir}}
  max_memory_store: 268435456
  max_file_store: {{.StoreBytes}}
{{- if .Power}}
  # Every message is on the disk before it is confirmed.
  sync_interval: always
{{- else}}
  # A power failure can take what was stored in the last ten seconds.
  sync_interval: "10s"
{{- end}}
}
{{- if .Cluster}}

cluster {
  name: "extsync"
  listen: {{quote .ClusterListen}}
  routes: [{{range .Routes}}
    {{quote .}}{{end}}
  ]
  tls {
    ca_file: {{quote .TLS.CA}}
    cert_file: {{quote .TLS.Cert}}
    key_file: {{quote .TLS.Key}}
    verify: true
    min_version: "1.3"
    timeout: 5
  }
}
{{- end}}

# An account for each role: docs/security.md says why. EXTSYNC owns the streams, and who is
# in it is an administrator.
accounts {
  SYS {}
{{- range .Accounts}}
  {{.Name}} {
{{- if .JetStream}}
    jetstream: enabled
{{- end}}
    users: [
{{- range .Users}}
      { # {{.Role}}: its inbox prefix is {{.Role.InboxPrefix}}{{if .Old}}; the old key{{end}}
        nkey: {{.Key}}
        permissions {
          publish { allow: [{{range .Publish}}
            {{quote .}}{{end}}
          ] }
          subscribe { allow: [{{range .Subscribe}}
            {{quote .}}{{end}}
          ] }
{{- if .Answers}}
          allow_responses: true
{{- end}}
        }
      }
{{- end}}
    ]
{{- if .Exports}}
    exports: [
{{- range .Exports}}
      { {{if .Service}}service{{else}}stream{{end}}: {{quote .Subject}}, accounts: [{{range $i, $to := .To}}{{if $i}}, {{end}}{{$to}}{{end}}]{{if .Several}}, response: stream{{end}} }
{{- end}}
    ]
{{- end}}
{{- if .Imports}}
    imports: [
{{- range .Imports}}
      { {{if .Service}}service{{else}}stream{{end}}: { account: {{.From}}, subject: {{quote .Subject}} } }
{{- end}}
    ]
{{- end}}
  }
{{- end}}
}
system_account: SYS
`
