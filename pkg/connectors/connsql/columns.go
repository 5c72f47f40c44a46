package connsql

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/internal/jq"
)

// A Column is a column of the mode table and where its value comes from.
type Column struct {
	// Name is the column's name in the table. Required.
	Name string `yaml:"name" required:"true" max:"63" example:"starts_at" doc:"The column's name in the table."`
	// Type is what the value is: "text", "integer" (64 bits), "numeric" (any
	// length, exact), "double", "boolean", "timestamp" (RFC 3339, kept in UTC),
	// "date" (2006-01-02), "uuid", "json", "bytes" (base64 in the payload); in
	// PostgreSQL "text[]", "integer[]" and "numeric[]" too. Defaults to what the
	// column is in the database; a column that the connector creates is text then.
	// A value that is not of the type makes the update a dead letter.
	Type string `yaml:"type" example:"timestamp" doc:"The type of the value: text, integer (64 bits), numeric (any length, exact), double, boolean, timestamp (RFC 3339, kept in UTC), date (2006-01-02), uuid, json, bytes (base64 in the payload); in PostgreSQL text[], integer[] and numeric[], too. Defaults to the type of the column in the database; a column that the connector creates is text then. A value of another type makes the update a dead letter."`
	// JQ is the expression that takes the value out of the payload, a JSON
	// document. It must give exactly one value. null is NULL, and so is a field
	// that is missing, for which jq gives null; let the expression say error if
	// that is not wanted. Defaults to the field that has the column's name.
	JQ string `yaml:"jq" format:"jq" example:".appointment.starts_at" doc:"Takes the value out of the payload. It must give exactly one value; null, and a field that is missing, is NULL. Defaults to the field that has the column's name."`
}

// The types of columns that hold a payload or a part of it. Each dialect says
// what they are there, and which it does not have.
const (
	textType      = "text"
	integerType   = "integer"
	numericType   = "numeric"
	doubleType    = "double"
	booleanType   = "boolean"
	timestampType = "timestamp"
	dateType      = "date"
	uuidType      = "uuid"
	jsonType      = "json"
	bytesType     = "bytes"
	textArray     = "text[]"
	integerArray  = "integer[]"
	numericArray  = "numeric[]"
)

// Names of columns that are not configurable.
const (
	contentColumn = "content"
	// outOfOrderColumn marks a row of the mode append that came after a newer
	// version of its key, as one does that is replayed.
	outOfOrderColumn = "out_of_order"
)

// typesOf returns the names that a dialect has for the types it knows.
func typesOf(dialect string) map[string]string {
	switch dialect {
	case mysqlDialect:
		return mysqlTypes()
	case sqliteDialect:
		return sqliteTypes()
	default:
		return postgresTypes()
	}
}

func (c Column) withDefaults() Column {
	if c.JQ == "" {
		c.JQ = ".[" + strconv.Quote(c.Name) + "]"
	}
	return c
}

func (c Config) validateColumns(p *connectors.Problems) {
	// The least of the databases takes names that differ in case for one.
	taken := make(map[string]string)
	claim := func(path, name string) {
		if problem := checkIdentifier(name); problem != "" {
			p.Add(path, "%s", problem)
			return
		}
		if other, twice := taken[strings.ToLower(name)]; twice {
			p.Add(path, "%q is also the column of %s", name, other)
			return
		}
		taken[strings.ToLower(name)] = path
	}
	claim("names.key", c.Names.Key)
	for i, name := range c.KeyColumns {
		if name != c.Names.Key {
			claim("key_columns["+strconv.Itoa(i)+"]", name)
		}
	}
	if len(c.KeyColumns) == 1 {
		p.Add("key_columns", "one column is names.key")
	}
	claim("names.version", c.Names.Version)
	claim("names.version_nanos", c.Names.VersionNanos)
	claim("names.digest", c.Names.Digest)
	claim("names.op", c.Names.Op)
	claim("names.updated_at", c.Names.UpdatedAt)
	if c.Mode != tableMode {
		claim("content", contentColumn)
	}
	if c.Mode == appendMode {
		claim("mode", outOfOrderColumn)
	}
	for i, column := range c.Columns {
		path := "columns[" + strconv.Itoa(i) + "]"
		claim(path+".name", column.Name)
		column = column.withDefaults()
		if _, ok := typesOf(c.Dialect)[column.Type]; !ok && column.Type != "" {
			p.Add(path+".type", "%q is not a type of dialect %s", column.Type, c.Dialect)
		}
		if _, err := jq.Compile(column.JQ); err != nil {
			p.Add(path+".jq", "%v", err)
		}
	}
}

// versionsOf is the name of the table of versions, "" if there is none.
func (c Config) versionsOf(table string) string {
	if c.OnDelete != deleteOnDelete {
		return ""
	}
	return cmp.Or(c.VersionsTable, table+"_versions")
}

// layout returns the table that the configuration describes.
func (c Config) layout(table string) layout {
	l := layout{
		mode: c.Mode, table: table, keys: []string{c.Names.Key}, names: c.Names,
		lossy: c.Lossy == allowLoss, adopt: c.Adopt, versions: c.versionsOf(table),
	}
	if len(c.KeyColumns) > 0 {
		l.keys, l.separator = c.KeyColumns, c.KeySeparator
	}
	if c.Mode != tableMode {
		l.values = []column{{contentColumn, c.Content}}
		return l
	}
	l.keepOnDelete = c.OnDelete == keepOnDelete
	for _, col := range c.Columns {
		col = col.withDefaults()
		l.values = append(l.values, column{col.Name, col.Type})
	}
	return l
}
