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
	// mostBatch is where SQLite's and MySQL's limits on parameters are still far.
	mostBatch = 1000
	// mostIdentifier is PostgreSQL's limit in bytes, the least of the three.
	mostIdentifier = 63
)

// Config is the configuration of a sql connector.
type Config struct {
	// Dialect is the kind of database: "postgres", "mysql" (MariaDB too) or
	// "sqlite". Required.
	Dialect string `yaml:"dialect" required:"true" enum:"postgres,mysql,sqlite" group:"Database" doc:"The kind of database; mysql is MariaDB, too."`
	// DSN says where the database is and how to get in. Required. The password, and
	// nothing else, must be a reference. A SQLite file must be in a directory that the
	// worker's operator allows, and so must the socket of a server.
	//
	//	postgres: postgres://user:${env:PASSWORD}@host:5432/database?sslmode=verify-full
	//	mysql:    user:${env:PASSWORD}@tcp(host:3306)/database?tls=true
	//	sqlite:   the path of a file
	DSN connectors.Ref `yaml:"dsn" required:"true" format:"dsn" example:"postgres://extsync:${env:CHANNEL_ERP_PASSWORD}@erp.example:5432/appointments?sslmode=verify-full" group:"Database" doc:"The way to the database. postgres: postgres://user:${env:PASSWORD}@host:5432/database?sslmode=verify-full. mysql: user:${env:PASSWORD}@tcp(host:3306)/database?tls=true. sqlite: the path of a file. The password, and nothing else, must be a reference. A file, and the socket of a server, must be in a directory that the worker's operator allows."`
	// Mode is what a row of the table is: "document" (the default) keeps the
	// newest payload of a key in one column, "table" keeps what Columns take out
	// of it, "append" keeps every version in a row of its own.
	Mode string `yaml:"mode" default:"document" enum:"document,table,append" group:"Rows" doc:"document keeps the newest payload of a key in one column. table keeps the values that columns take out of it. append adds a row for every version; nothing keeps an older one from coming after a newer one."`
	// Table is the name of the table, after its schema and a dot where it has
	// one. Defaults to extsync_ and the channel's name with every '-' as '_'. Two
	// channels must not have one table, so set it for those whose names differ in
	// nothing else.
	Table string `yaml:"table" max:"127" example:"appointments" group:"Rows" doc:"The name of the table, after its schema and a dot where it has one. Defaults to extsync_ and the channel's name with every - as _. Two channels must not have one table: each would take the other's rows for its own."`
	// AutoCreate has a table that is missing created. Defaults to false: the
	// error then shows the statement to run.
	AutoCreate bool `yaml:"auto_create" group:"Rows" doc:"Creates the table if it is missing, for which the user needs the right. Without it the channel is blocked, and the error shows the statement to run."`
	// Content is the type of the column "content" of the modes document and
	// append: "json" (the default; jsonb in PostgreSQL), "text" or "bytes". A
	// payload that is not of this type is refused for good.
	Content string `yaml:"content" default:"json" enum:"json,text,bytes" advanced:"true" group:"Rows" doc:"The type of the column content of the modes document and append; json is jsonb in PostgreSQL. A payload that is not of this type is a dead letter."`
	// Columns are what the mode table takes out of a payload, at least one.
	Columns []Column `yaml:"columns" required:"true" when:"mode=table" group:"Rows" doc:"The columns of the mode table, and the parts of a payload that they take, at least one."`
	// OnDelete is what becomes of a row at a delete: "clear" (the default) sets Columns, or the
	// content, to NULL, "keep" leaves Columns. The row stays in either case, since it holds
	// the version of the delete. "delete" removes the row: then a second table holds the
	// versions of all keys, so that an older update which comes late is still refused.
	OnDelete string `yaml:"on_delete" default:"clear" enum:"clear,keep,delete" group:"Rows" doc:"At a delete clear sets the columns, or the content, to NULL; keep leaves the columns of the mode table. The row stays then, since it holds the version of the delete. delete removes the row, and keeps its version in a second table, so that an older update that comes late is still refused."`
	// VersionsTable is the second table of on_delete delete. Defaults to Table and
	// "_versions".
	VersionsTable string `yaml:"versions_table" max:"127" when:"on_delete=delete" example:"erp.policy_versions" advanced:"true" group:"Rows" doc:"The table that holds the versions of all keys where on_delete is delete. Defaults to the table's name and _versions. Without its rows an older update could bring a deleted row back."`
	// KeyColumns are the columns that hold the parts of the key, in their order, in place of
	// Names.Key: a key is as many parts with KeySeparator between. The last part may have
	// separators of its own.
	KeyColumns []string `yaml:"key_columns" example:"[tenant, id]" group:"Rows" doc:"These columns hold the parts of the key, in their order, in place of names.key, where the table has more than one column for it."`
	// KeySeparator is between the parts of a key. Defaults to "/".
	KeySeparator string `yaml:"key_separator" default:"/" advanced:"true" group:"Rows" doc:"Stands between the parts of a key that key_columns hold. A key with fewer parts is a dead letter."`
	// Adopt takes rows over that have no version, at their first write. Defaults to false:
	// such a row is a conflict, since the platform did not write it.
	Adopt bool `yaml:"adopt" group:"Rows" doc:"Takes rows over that were there before, with NULL for their version, at their first write. Without it they are conflicts, since the platform did not write them."`
	// Lossy says what becomes of a value that its column cannot hold exactly: "refuse" (the
	// default) makes the update a dead letter, "allow" leaves it to the database, which
	// rounds and cuts.
	Lossy string `yaml:"lossy" default:"refuse" enum:"refuse,allow" group:"Rows" doc:"refuse makes an update a dead letter if a column cannot hold a value of it exactly. allow lets the database round or cut the value, and nobody hears of it."`
	// Names are the columns that the connector itself needs in the table.
	Names Names `yaml:"names" advanced:"true" group:"Rows" doc:"The columns that the connector itself needs in the table. After a change it no longer finds the rows that it wrote."`
	// TLS secures the connections of postgres and mysql, in place of sslmode and tls in
	// the DSN: with it, there is no connection without TLS.
	TLS connkit.TLS `yaml:"tls" example:"{cert: '${file:/run/extsync/secrets/client.pem}', key: '${file:/run/extsync/secrets/client.key}'}" when:"dialect=postgres|mysql" group:"Connection" doc:"Secures the connections, in place of sslmode and tls in the DSN: with it, there is no connection without TLS."`
	// AllowCIDRs are the networks, out of those that are not public, in which the server
	// may be: "10.20.0.0/16". The worker's operator must allow them. Default: none, only
	// public addresses are connected to.
	AllowCIDRs []string `yaml:"allow_cidrs" example:"[10.20.0.0/16]" when:"dialect=postgres|mysql" group:"Connection" doc:"The server may be in these networks, besides public ones. The worker's operator must allow them, too. Without it only public addresses are connected to."`
	// Pooler says that between the connector and a PostgreSQL server is a pooler which gives
	// each transaction another connection, as PgBouncer does: nothing is prepared under a
	// name, and limits on time are set in each transaction. Defaults to false: it is found
	// out when the pooler refuses something, at the price of that one answer.
	Pooler bool `yaml:"pooler" when:"dialect=postgres" advanced:"true" group:"Connection" doc:"A pooler stands before the server that gives each transaction another connection, as PgBouncer does: nothing is prepared under a name. Without it the connector finds that out at the first refusal."`
	// MaxBatch is the most updates in one statement, 1 to 1000. Defaults to 200.
	MaxBatch int `yaml:"max_batch" default:"200" min:"1" max:"1000" advanced:"true" group:"Connection" doc:"One statement writes up to so many updates. Many at once are quicker where the database is far away, and make others wait longer for its locks."`
}

// Names are the columns that the connector itself keeps in a table.
type Names struct {
	Key          string `yaml:"key" default:"key" max:"63" doc:"The name of the column for the key."`                                                                     // text; defaults to "key"
	Version      string `yaml:"version" default:"version" max:"63" doc:"The name of the column for a version that is a number; a bigint."`                                // a bigint; defaults to "version"
	VersionNanos string `yaml:"version_nanos" default:"version_nanos" max:"63" doc:"The name of the column for the nanoseconds of a version that is a time; an integer."` // an integer; defaults to "version_nanos"
	Digest       string `yaml:"digest" default:"digest" max:"63" doc:"The name of the column for the digest of the payload; a text."`                                     // text; defaults to "digest"
	Op           string `yaml:"op" default:"op" max:"63" doc:"The name of the column for the operation, upsert or delete; a text."`                                       // text; defaults to "op"
	UpdatedAt    string `yaml:"updated_at" default:"updated_at" max:"63" doc:"The name of the column for the time of the write."`                                         // a time; defaults to "updated_at"
}

// decode reads a configuration strictly, fills the defaults in and validates it.
func decode(data []byte) (Config, error) {
	var c Config
	var p connectors.Problems
	p.Decode(data, &c)
	p.AddError("", c.Validate())
	return c, p.Err()
}

// What becomes of a row at a delete.
const (
	clearOnDelete  = "clear"
	keepOnDelete   = "keep"
	deleteOnDelete = "delete"
)

// What becomes of a value that a column cannot hold exactly.
const (
	refuseLoss = "refuse"
	allowLoss  = "allow"
)

// Validate checks a configuration that has its defaults. The error wraps
// connectors.ErrConfig and names every bad field.
func (c Config) Validate() error {
	var p connectors.Problems
	p.Check(c)
	c.validateDSN(&p)
	c.validateTable(&p, "table", c.Table)
	c.validateTable(&p, "versions_table", c.VersionsTable)
	if c.Mode == appendMode && (c.OnDelete == deleteOnDelete || c.Adopt) {
		p.Add("mode", "append keeps every version: on_delete delete and adopt are not for it")
	}
	c.TLS.Check(&p)
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	}
	c.validateColumns(&p)
	return p.Err()
}

func (c Config) validateTable(p *connectors.Problems, path, table string) {
	if table == "" {
		return
	}
	if problem := checkTable(table); problem != "" {
		p.Add(path, "%s", problem)
	}
	if c.Dialect == sqliteDialect && isSQLiteOwn(table) {
		p.Add(path, "%q belongs to SQLite itself, as every name does that begins with sqlite_", table)
	}
	if schema, _, _ := strings.Cut(strings.ToLower(table), "."); schema == "temp" && c.Dialect == sqliteDialect ||
		strings.HasPrefix(schema, "pg_temp") && c.Dialect == postgresDialect {
		p.Add(path, "%q ends with the connection, and all that is in it", table)
	}
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
