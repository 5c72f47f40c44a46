package config

import (
	"encoding"
	"fmt"
	"strconv"
	"strings"
)

// Group is a set of settings that a command uses or does not.
type Group string

// The groups. Log settings and the prefix belong to every command.
const (
	GroupCommon    Group = "common"
	GroupNATS      Group = "nats"
	GroupStorage   Group = "storage"  // for commands that provision the broker
	GroupEmbedded  Group = "embedded" // for commands that run a broker themselves
	GroupWorker    Group = "worker"
	GroupAllow     Group = "allow"     // for what opens connectors
	GroupTelemetry Group = "telemetry" // for what keeps running
	GroupHTTP      Group = "http"
	GroupAdminKey  Group = "admin_key" // for what signs
	GroupRelay     Group = "relay"     // for what reads the platform's database
)

// A setting is one field of the configuration, with its name in the file.
// Its variable and its flag follow from that.
type setting struct {
	path  string // in the file: nats.tls.ca_file
	group Group
	kind  string // what people may write, for --help
	usage string
	field func(*Config) any // a *string, a *int or an encoding.TextUnmarshaler
}

// settings lists everything that can be set by a variable or a flag.
func settings() []setting {
	return []setting{
		{"nats.url", GroupNATS, "url", "address of the broker, several separated by commas", func(c *Config) any { return &c.NATS.URL }},
		{"nats.creds_file", GroupNATS, "file", "credentials file (a user JWT and its seed)", func(c *Config) any { return &c.NATS.CredsFile }},
		{"nats.nkey_seed_file", GroupNATS, "file", "file with the seed of a user's nkey", func(c *Config) any { return &c.NATS.NKeySeedFile }},
		{"nats.tls.ca_file", GroupNATS, "file", "authorities that may have signed the broker's certificate", func(c *Config) any { return &c.NATS.TLS.CAFile }},
		{"nats.tls.cert_file", GroupNATS, "file", "client certificate", func(c *Config) any { return &c.NATS.TLS.CertFile }},
		{"nats.tls.key_file", GroupNATS, "file", "key of the client certificate", func(c *Config) any { return &c.NATS.TLS.KeyFile }},
		{"nats.name", GroupNATS, "text", "what the broker shows for this connection", func(c *Config) any { return &c.NATS.Name }},
		{"nats.inbox_prefix", GroupNATS, "subject", "where replies come back, starting with _INBOX", func(c *Config) any { return &c.NATS.InboxPrefix }},

		{"prefix", GroupCommon, "text", "first token of every subject", func(c *Config) any { return &c.Prefix }},
		{"log.level", GroupCommon, "level", "trace, debug, info, warn, error or disabled (default info for services, error for other commands)", func(c *Config) any { return &c.Log.Level }},
		{"log.format", GroupCommon, "format", "json, console, or auto: console on a terminal", func(c *Config) any { return &c.Log.Format }},

		{"admin_key", GroupAdminKey, "file", "administrator's key, which signs tokens and their revocations", func(c *Config) any { return &c.AdminKey }},

		{"storage.replicas", GroupStorage, "1|3|5", "on how many servers each stream lies", func(c *Config) any { return &c.Storage.Replicas }},
		{"storage.ledger_bytes", GroupStorage, "size", "reserved for the ledger", func(c *Config) any { return &c.Storage.LedgerBytes }},
		{"storage.outcome_bytes", GroupStorage, "size", "reserved for the outcome log", func(c *Config) any { return &c.Storage.OutcomeBytes }},
		{"storage.dead_bytes", GroupStorage, "size", "reserved for dead letters", func(c *Config) any { return &c.Storage.DeadBytes }},
		{"storage.parked_bytes", GroupStorage, "size", "reserved for parked updates", func(c *Config) any { return &c.Storage.ParkedBytes }},
		{"storage.ack_bytes", GroupStorage, "size", "reserved for acks of named services", func(c *Config) any { return &c.Storage.AckBytes }},
		{"storage.outcome_max_age", GroupStorage, "duration", "how long the outcome log is kept", func(c *Config) any { return &c.Storage.OutcomeMaxAge }},
		{"storage.durability", GroupEmbedded, "mode", "process, or power: every message on the disk before it is confirmed", func(c *Config) any { return &c.Storage.Durability }},
		{"storage.max_store", GroupEmbedded, "size", "bound of everything in the embedded broker", func(c *Config) any { return &c.Storage.MaxStore }},

		{"worker.lease_ttl", GroupWorker, "duration", "how long a silent worker keeps its share (default 4s, 10s in a cluster)", func(c *Config) any { return &c.Worker.LeaseTTL }},
		{"worker.drain_timeout", GroupWorker, "duration", "how long a worker that ends waits for calls in flight", func(c *Config) any { return &c.Worker.DrainTimeout }},
		{"worker.stall_after", GroupWorker, "duration", "how long a worker may have something to do and settle nothing before it is not ready", func(c *Config) any { return &c.Worker.StallAfter }},

		{"allow.env", GroupAllow, "names", "environment variables that channels may refer to as secrets, such as CHANNEL_ERP_PASSWORD,CHANNEL_*", func(c *Config) any { return &c.Allow.Env }},
		{"allow.files", GroupAllow, "directories", "directories of files that channels may refer to as secrets", func(c *Config) any { return &c.Allow.Files }},
		{"allow.networks", GroupAllow, "networks", "networks besides the public ones that channels may name in allow_cidrs, such as 10.20.0.0/16", func(c *Config) any { return &c.Allow.Networks }},
		{"allow.databases", GroupAllow, "directories", "directories in which channels may have database files, and sockets of servers", func(c *Config) any { return &c.Allow.Databases }},
		{"allow.programs", GroupAllow, "paths", "programs that channels of the kind plugin may start, and directories of such", func(c *Config) any { return &c.Allow.Programs }},
		{"allow.channels", GroupAllow, "yaml", "other lists for single channels, such as {erp: {networks: [10.20.0.0/16]}}", func(c *Config) any { return &c.Allow.Channels }},

		{"telemetry.listen", GroupTelemetry, "host:port", "address of /metrics, /healthz and /readyz, such as 127.0.0.1:9464 (default none)", func(c *Config) any { return &c.Telemetry.Listen }},
		{"telemetry.pprof", GroupTelemetry, "host:port", "loopback address of /debug/pprof/ (default none)", func(c *Config) any { return &c.Telemetry.Pprof }},

		{"relay.dialect", GroupRelay, "postgres|mysql|sqlite", "kind of the platform's database; mysql is MariaDB, too", func(c *Config) any { return &c.Relay.Dialect }},
		{"relay.dsn", GroupRelay, "text", "way to the database: postgres://user@host/db, user@tcp(host:3306)/db, or the path of a file", func(c *Config) any { return &c.Relay.DSN }},
		{"relay.dsn_file", GroupRelay, "file", "file that holds the DSN, for one with a password", func(c *Config) any { return &c.Relay.DSNFile }},
		{"relay.query", GroupRelay, "sql", "relay what this query selects, in place of an outbox: columns key, version and payload, where version > :since", func(c *Config) any { return &c.Relay.Query }},
		{"relay.target", GroupRelay, "target", "channel that the query's rows go to, or topics/TOPIC", func(c *Config) any { return &c.Relay.Target }},
		{"relay.versions", GroupRelay, "number|time", "what the query's versions are", func(c *Config) any { return &c.Relay.Versions }},
		{"relay.overlap", GroupRelay, "versions", "how far before the newest version each run of the query begins (default 10000, or 5m for times)", func(c *Config) any { return &c.Relay.Overlap }},
		{"relay.compare_every", GroupRelay, "duration", "how often the query is compared with the broker, for the log and metrics (default never)", func(c *Config) any { return &c.Relay.CompareEvery }},
		{"relay.poll", GroupRelay, "duration", "how often the database is asked when it says nothing by itself (default 250ms, 5s for a query)", func(c *Config) any { return &c.Relay.Poll }},
		{"relay.claims", GroupRelay, "1..64", "how many groups of rows are published at once, each on a connection of its own", func(c *Config) any { return &c.Relay.Claims }},
		{"relay.stall_after", GroupRelay, "duration", "how long rows may wait and none be published before the relay is not ready", func(c *Config) any { return &c.Relay.StallAfter }},

		{"http.listen", GroupHTTP, "host:port", "where the API listens; other addresses than loopback need --http-token-keys-file", func(c *Config) any { return &c.HTTP.Listen }},
		{"http.cert_file", GroupHTTP, "file", "certificate of the API, with its chain; read again when it changes", func(c *Config) any { return &c.HTTP.CertFile }},
		{"http.key_file", GroupHTTP, "file", "key of the certificate", func(c *Config) any { return &c.HTTP.KeyFile }},
		{"http.token_keys_file", GroupHTTP, "file", "public keys of administrators: tokens that they have signed are valid, and each request needs one", func(c *Config) any { return &c.HTTP.TokenKeysFile }},
		{"http.session_key_file", GroupHTTP, "file", "key that signs the cookies of logins, the same for all instances, or at a gateway its public half (default a key that is made at the start: a login is good at this instance only)", func(c *Config) any { return &c.HTTP.SessionKeyFile }},
		{"http.console.place", GroupHTTP, "text", "short name of this installation in the console (default the prefix)", func(c *Config) any { return &c.HTTP.Console.Place }},
		{"http.oidc.issuer", GroupHTTP, "url", "OpenID Connect provider where people log in (default none)", func(c *Config) any { return &c.HTTP.OIDC.Issuer }},
		{"http.oidc.name", GroupHTTP, "text", "what people are shown of the provider (default its host)", func(c *Config) any { return &c.HTTP.OIDC.Name }},
		{"http.oidc.client_id", GroupHTTP, "text", "what the provider knows this API as", func(c *Config) any { return &c.HTTP.OIDC.ClientID }},
		{"http.oidc.client_secret_file", GroupHTTP, "file", "file with the secret that the provider has given", func(c *Config) any { return &c.HTTP.OIDC.ClientSecretFile }},
		{"http.oidc.redirect_url", GroupHTTP, "url", "where people reach /v1/session/oidc/callback of this API", func(c *Config) any { return &c.HTTP.OIDC.RedirectURL }},
		{"http.oidc.scopes", GroupHTTP, "names", "what to ask the provider for, beside openid (default profile,email,groups)", func(c *Config) any { return &c.HTTP.OIDC.Scopes }},
		{"http.oidc.groups_claim", GroupHTTP, "name", "claim that lists somebody's groups (default groups)", func(c *Config) any { return &c.HTTP.OIDC.GroupsClaim }},
		{"http.oidc.groups", GroupHTTP, "yaml", "what groups may do, such as {operators: {scopes: [read, operate], channels: [erp]}}", func(c *Config) any { return &c.HTTP.OIDC.Groups }},
		{"http.drain_timeout", GroupHTTP, "duration", "how long a publisher that ends answers what it has accepted", func(c *Config) any { return &c.HTTP.DrainTimeout }},
	}
}

// envPrefix starts the name of every variable of ours.
const envPrefix = "EXTSYNC_"

func (s setting) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.path, ".", "_"))
}

func (s setting) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(s.path)
}

// set gives the field the value of a text.
func (s setting) set(c *Config, text string) error {
	switch field := s.field(c).(type) {
	case *string:
		*field = text
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*field = n
	case encoding.TextUnmarshaler:
		return field.UnmarshalText([]byte(text))
	default:
		panic(fmt.Sprintf("setting %s has a field of type %T", s.path, field))
	}
	return nil
}

// text returns the field as set would read it, "" for zero.
func (s setting) text(c *Config) string {
	switch field := s.field(c).(type) {
	case *string:
		return *field
	case *int:
		return strconv.Itoa(*field)
	case *Duration:
		if *field == 0 {
			return ""
		}
		return field.D().String()
	case fmt.Stringer:
		return field.String()
	default:
		panic(fmt.Sprintf("setting %s has a field of type %T", s.path, field))
	}
}
