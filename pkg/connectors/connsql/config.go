package connsql

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// The dialects.
const (
	postgresDialect = "postgres"
	mysqlDialect    = "mysql"
	sqliteDialect   = "sqlite"
)

// The modes.
const (
	documentMode = "document"
	tableMode    = "table"
	appendMode   = "append"
)

// Limits of a configuration.
const (
	// DefaultMaxBatch is the number of updates that one statement writes.
	DefaultMaxBatch = 200
	// mostBatch is where SQLite's and MySQL's limits on parameters are still far.
	mostBatch = 1000
	// mostIdentifier is PostgreSQL's limit in bytes, the least of the three.
	mostIdentifier = 63
)

// Config is the configuration of a sql connector.
type Config struct {
	// Dialect is the kind of database: "postgres", "mysql" (MariaDB too) or
	// "sqlite". Required.
	Dialect string `yaml:"dialect"`
	// DSN says where the database is and how to get in. Required. The password, and
	// nothing else, must be a reference. A SQLite file must be in a directory that the
	// worker's operator allows, and so must the socket of a server.
	//
	//	postgres: postgres://user:${env:PASSWORD}@host:5432/database?sslmode=verify-full
	//	mysql:    user:${env:PASSWORD}@tcp(host:3306)/database?tls=true
	//	sqlite:   the path of a file
	DSN connectors.Ref `yaml:"dsn"`
	// Mode is what a row of the table is: "document" (the default) keeps the
	// newest payload of a key in one column, "table" keeps what Columns take out
	// of it, "append" keeps every version in a row of its own.
	Mode string `yaml:"mode"`
	// Table is the name of the table, after its schema and a dot where it has
	// one. Defaults to extsync_ and the channel's name with every '-' as '_'. Two
	// channels must not have one table, so set it for those whose names differ in
	// nothing else.
	Table string `yaml:"table"`
	// AutoCreate has a table that is missing created. Defaults to false: the
	// error then shows the statement to run.
	AutoCreate bool `yaml:"auto_create"`
	// Content is the type of the column "content" of the modes document and
	// append: "json" (the default; jsonb in PostgreSQL), "text" or "bytes". A
	// payload that is not of this type is refused for good.
	Content string `yaml:"content"`
	// Columns are what the mode table takes out of a payload, at least one.
	Columns []Column `yaml:"columns"`
	// OnDelete is what the mode table does to Columns at a delete: "clear" (the
	// default) sets them to NULL, "keep" leaves them. The row stays in either
	// case, since it holds the version of the delete.
	OnDelete string `yaml:"on_delete"`
	// Names are the columns that the connector itself needs in the table.
	Names Names `yaml:"names"`
	// TLS secures the connections of postgres and mysql, in place of sslmode and tls in
	// the DSN: with it, there is no connection without TLS.
	TLS connkit.TLS `yaml:"tls"`
	// AllowCIDRs are the networks, out of those that are not public, in which the server
	// may be: "10.20.0.0/16". The worker's operator must allow them. Default: none, only
	// public addresses are connected to.
	AllowCIDRs []string `yaml:"allow_cidrs"`
	// MaxBatch is the most updates in one statement, 1 to 1000. Defaults to 200.
	MaxBatch int `yaml:"max_batch"`
}

// Names are the columns that the connector itself keeps in a table.
type Names struct {
	Key          string `yaml:"key"`           // text; defaults to "key"
	Version      string `yaml:"version"`       // a bigint; defaults to "version"
	VersionNanos string `yaml:"version_nanos"` // an integer; defaults to "version_nanos"
	Digest       string `yaml:"digest"`        // text; defaults to "digest"
	Op           string `yaml:"op"`            // text; defaults to "op"
	UpdatedAt    string `yaml:"updated_at"`    // a time; defaults to "updated_at"
}

// decode reads a configuration strictly, fills the defaults in and validates it.
func decode(data []byte) (Config, error) {
	var c Config
	if err := connectors.DecodeStrict(data, &c); err != nil {
		return Config{}, err
	}
	c = c.withDefaults()
	return c, c.Validate()
}

func (c Config) withDefaults() Config {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&c.Mode, documentMode},
		{&c.Content, jsonType},
		{&c.OnDelete, clearOnDelete},
		{&c.Names.Key, "key"},
		{&c.Names.Version, "version"},
		{&c.Names.VersionNanos, "version_nanos"},
		{&c.Names.Digest, "digest"},
		{&c.Names.Op, "op"},
		{&c.Names.UpdatedAt, "updated_at"},
	} {
		if *d.field == "" {
			*d.field = d.value
		}
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = DefaultMaxBatch
	}
	return c
}

// What happens to the columns of the mode table at a delete.
const (
	clearOnDelete = "clear"
	keepOnDelete  = "keep"
)

// Validate checks a configuration that has its defaults. The error wraps
// connectors.ErrConfig and names every bad field.
func (c Config) Validate() error {
	var p connectors.Problems
	connkit.OneOf(&p, "dialect", c.Dialect, postgresDialect, mysqlDialect, sqliteDialect)
	connkit.OneOf(&p, "mode", c.Mode, documentMode, tableMode, appendMode)
	connkit.OneOf(&p, "content", c.Content, jsonType, textType, bytesType)
	connkit.OneOf(&p, "on_delete", c.OnDelete, clearOnDelete, keepOnDelete)
	if c.MaxBatch < 1 || c.MaxBatch > mostBatch {
		p.Add("max_batch", "%d is outside 1..%d", c.MaxBatch, mostBatch)
	}
	c.validateDSN(&p)
	if c.Table != "" {
		if problem := checkTable(c.Table); problem != "" {
			p.Add("table", "%s", problem)
		}
		if c.Dialect == sqliteDialect && isSQLiteOwn(c.Table) {
			p.Add("table", "%q belongs to SQLite itself, as every name does that begins with sqlite_", c.Table)
		}
		if schema, _, _ := strings.Cut(strings.ToLower(c.Table), "."); schema == "temp" && c.Dialect == sqliteDialect ||
			strings.HasPrefix(schema, "pg_temp") && c.Dialect == postgresDialect {
			p.Add("table", "%q ends with the connection, and all that is in it", c.Table)
		}
	}
	c.TLS.Check(&p)
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	}
	if c.Dialect == sqliteDialect && (c.TLS != connkit.TLS{} || len(c.AllowCIDRs) > 0) {
		p.Add("tls, allow_cidrs", "dialect sqlite has no connections")
	}
	c.validateColumns(&p)
	return p.Err()
}

// checkTable says what is wrong with the name of a table, "" if nothing is.
func checkTable(name string) string {
	parts := strings.Split(name, ".")
	if len(parts) > 2 {
		return fmt.Sprintf("%q has more than one dot; give a table or schema.table", name)
	}
	for _, part := range parts {
		if problem := checkIdentifier(part); problem != "" {
			return problem
		}
	}
	return ""
}

// isSQLiteOwn reports whether SQLite keeps a name, after that of a schema or none, for
// its own tables.
func isSQLiteOwn(table string) bool {
	name := strings.ToLower(table[strings.LastIndexByte(table, '.')+1:])
	return strings.HasPrefix(name, "sqlite_")
}

func checkIdentifier(name string) string {
	switch {
	case name == "":
		return "a name is empty"
	case len(name) > mostIdentifier:
		return fmt.Sprintf("%q is longer than %d bytes", name, mostIdentifier)
	case strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }):
		return fmt.Sprintf("%q has characters that cannot be printed", name)
	default:
		return ""
	}
}

// tableFor returns the table of a channel.
func (c Config) tableFor(channel string) (string, error) {
	if c.Table != "" {
		return c.Table, nil
	}
	name := "extsync_" + strings.ReplaceAll(channel, "-", "_")
	if problem := checkTable(name); problem != "" {
		return "", fmt.Errorf("%w: table: the default %s; set it", connectors.ErrConfig, problem)
	}
	return name, nil
}
