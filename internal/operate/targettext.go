package operate

import (
	"encoding/json"
	"net"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/channels"
)

// maxTargetText bounds what TargetText returns, in bytes.
const maxTargetText = 200

// TargetText says for people where a connector writes to: an address, or a directory. It has
// no user, password or query, and a configuration refers to secrets in these only; where a
// secret is referred to anywhere else, the kind's name stands for all of it. "" for a
// connector that says nothing of its target.
func TargetText(c channels.Connector) string {
	text := targetText(c)
	if strings.Contains(text, "${") {
		return c.Kind
	}
	if len(text) > maxTargetText {
		text = strings.ToValidUTF8(text[:maxTargetText], "")
	}
	return text
}

func targetText(c channels.Connector) string {
	var all map[string]json.RawMessage
	if json.Unmarshal(c.Config, &all) != nil {
		return ""
	}
	field := func(name string) string {
		var text string
		if json.Unmarshal(all[name], &text) != nil { // a number, or not there
			return strings.Trim(string(all[name]), `"`)
		}
		return text
	}
	switch {
	case field("url") != "":
		return addressText(field("url"))
	case field("endpoint") != "":
		return strings.TrimSuffix(addressText(field("endpoint")), "/") + "/" + field("bucket")
	case field("dsn") != "":
		return dsnText(field("dialect"), field("dsn"))
	case field("host") != "":
		text := field("host")
		if port, err := strconv.ParseUint(field("port"), 10, 16); err == nil {
			text = net.JoinHostPort(text, strconv.FormatUint(port, 10))
		}
		return text + field("directory")
	case field("directory") != "":
		return field("directory")
	}
	for _, name := range []string{"servers", "command"} {
		var list []string
		if json.Unmarshal(all[name], &list) == nil && len(list) > 0 {
			return strings.Join([]string{addressText(list[0]), firstOf(field("bucket"), field("stream"), field("subject"))}, " ")
		}
	}
	return ""
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// addressText returns an address without user, query and fragment.
func addressText(text string) string {
	text, _, _ = strings.Cut(text, "?")
	text, _, _ = strings.Cut(text, "#")
	scheme, rest, there := strings.Cut(text, "://")
	if !there {
		return text
	}
	host, path, _ := strings.Cut(rest, "/")
	host = host[strings.LastIndex(host, "@")+1:]
	return strings.TrimSuffix(scheme+"://"+host+"/"+path, "/")
}

// dsnText returns of a data source what says where it is.
func dsnText(dialect, dsn string) string {
	switch {
	case dialect == "sqlite":
		path, _, _ := strings.Cut(dsn, "?")
		return strings.TrimPrefix(path, "file:")
	case dialect == "mysql": // user:password@tcp(host:port)/database?options
		place := dsn[strings.LastIndex(dsn, "@")+1:]
		place, _, _ = strings.Cut(place, "?")
		return "mysql://" + strings.NewReplacer("tcp(", "", "unix(", "", ")", "").Replace(place)
	case strings.Contains(dsn, "://"):
		dsn, _, _ = strings.Cut(dsn, "?")
		_, rest, _ := strings.Cut(dsn, "://")
		return dialect + "://" + rest[strings.LastIndex(rest, "@")+1:] // a password may have any character
	}
	var host, database string
	for word := range strings.FieldsSeq(dsn) { // host=... dbname=... password=...
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "host":
			host = value
		case "dbname":
			database = value
		}
	}
	return dialect + "://" + host + "/" + database
}
