package connsql

import (
	sqldriver "database/sql/driver"
	"errors"
	"fmt"

	driver "github.com/go-sql-driver/mysql"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// mysqlNumbers groups the error numbers of MySQL 8 and MariaDB 10.11 by what
// they stand for.
func mysqlNumbers() map[uint16]meaning {
	const (
		transient     = connectors.Transient
		throttled     = connectors.Throttled
		permanent     = connectors.Permanent
		misconfigured = connectors.Misconfigured
		unready       = connectors.Unready
	)
	all := make(map[uint16]meaning)
	add := func(m meaning, numbers ...uint16) {
		for _, n := range numbers {
			all[n] = m
		}
	}
	add(meaning{class: throttled, text: "the server has too many connections", why: whyLess, shared: true}, 1040, 1203, 1226)

	add(meaning{class: transient, text: "a row is locked by somebody else", why: whyOthers, waited: true}, 1205, 3572)
	add(meaning{class: transient, text: "the transaction was in a deadlock", why: whyOthers}, 1213, 1614)
	add(meaning{class: transient, text: "the transaction met a concurrent one", why: whyOthers}, 1020)
	add(meaning{class: transient, text: "the statement took too long or was ended", why: whyOthers}, 1317, 1969, 3024)
	add(meaning{class: transient, text: "the server ended the connection", why: whyServer, shared: true},
		1053, 1077, 1078, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013)
	add(meaning{class: transient, text: "the server takes no writes", why: whyServer, shared: true}, 1290, 1792, 1836)
	add(meaning{class: transient, text: "the server is out of a resource", why: whyServer, shared: true}, 1021, 1037, 1038, 1041, 1114, 1135)

	add(meaning{class: unready, text: "another row has the same unique value", why: whyTaken}, 1022, 1062, 1169, 1586, 1859)
	add(meaning{class: permanent, text: "a column must not be NULL", why: whyNever}, 1048, 1263)
	add(meaning{class: unready, text: "a foreign key refuses the row", why: whyRow}, 1216, 1217, 1451, 1452)
	add(meaning{class: permanent, text: "a check constraint refuses the row", why: whyNever}, 3819, 4025)
	add(meaning{class: permanent, text: "a value does not fit its type", why: whyNever},
		1264, 1265, 1292, 1366, 1367, 1406, 1411, 1416, 1690, 3140, 3141, 3144, 3146, 3156, 4037, 4038)
	add(meaning{class: permanent, text: "a text has characters that the database cannot hold", why: whyNever}, 1300, 3854)
	add(meaning{class: permanent, text: "a value or row is over a limit of the server", why: whyNever}, 1118, 1153, 1301)
	add(meaning{class: unready, text: "no partition of the table takes the row", why: whyPlace}, 1526)
	add(meaning{class: permanent, text: "a function or trigger fails", why: whyNever}, 1329, 1442, 1645)
	add(meaning{class: unready, text: "a function or trigger refuses the row", why: whyTrigger}, 1643, 1644)

	add(meaning{class: misconfigured, text: "the login is refused", why: whyLogin, shared: true, quote: true},
		1044, 1045, 1129, 1130, 1251, 1275, 1698, 1820, 1862, 3118, 3159, 4151)
	add(meaning{class: misconfigured, text: "a permission is missing", why: whyLogin, shared: true, quote: true}, 1142, 1143, 1227, 1370)
	add(meaning{class: misconfigured, text: "there is no such database", why: whySchema, shared: true, quote: true}, 1049)
	add(meaning{class: misconfigured, text: "the table is missing", why: whySchema, shared: true, quote: true}, 1146)
	add(meaning{class: misconfigured, text: "a column is missing", why: whySchema, shared: true, quote: true}, 1054)
	add(meaning{class: misconfigured, text: "a column that is not written has no default", why: whySchema, shared: true, quote: true}, 1364)
	add(meaning{class: misconfigured, text: "the table cannot be written to", why: whySchema, shared: true, quote: true}, 1036, 1288, 1347, 1471)
	return all
}

// mysqlStates maps the class of an SQLSTATE to its meaning, for numbers that
// have none of their own. What is in neither list is Transient.
func mysqlStates() map[string]meaning {
	return map[string]meaning{
		"08": {class: connectors.Transient, text: "the connection failed", why: whyServer, shared: true},
		"22": {class: connectors.Permanent, text: "a value does not fit its type", why: whyNever},
		"23": {class: connectors.Permanent, text: "a constraint refuses the row", why: whyNever},
		"28": {class: connectors.Misconfigured, text: "the login is refused", why: whyLogin, shared: true},
		"40": {class: connectors.Transient, text: "the transaction was rolled back", why: whyOthers},
		"42": {class: connectors.Misconfigured, text: "the table is not as it must be", why: whySchema, shared: true},
		"45": {class: connectors.Unready, text: "a function or trigger refuses the row", why: whyTrigger},
	}
}

// judge classifies by the error number. The verdict's text has the server's message
// only where it can repeat no value of a row.
func (m *mysql) judge(err error) verdict { return judgeMySQL(err) }

func judgeMySQL(err error) verdict {
	var server *driver.MySQLError
	switch {
	case errors.As(err, &server):
		return mysqlVerdict(server)
	case errors.Is(err, errNoUnique):
		return verdict{class: connectors.Misconfigured, code: "no-unique", text: errNoUnique.Error(), shared: true}
	case errors.Is(err, driver.ErrPktTooLarge):
		return verdict{class: connectors.Permanent, code: "1153", text: "a value or row is over a limit of the server"}
	case errors.Is(err, driver.ErrNoTLS):
		return verdict{class: connectors.Misconfigured, code: "tls", text: "the server does not speak TLS", shared: true}
	case errors.Is(err, driver.ErrCleartextPassword), errors.Is(err, driver.ErrNativePassword),
		errors.Is(err, driver.ErrOldPassword), errors.Is(err, driver.ErrUnknownPlugin):
		return verdict{class: connectors.Misconfigured, code: "login", text: "the server asks for a login that the DSN does not allow", shared: true}
	case errors.Is(err, driver.ErrInvalidConn), errors.Is(err, sqldriver.ErrBadConn):
		return verdict{class: connectors.Transient, code: "connection", text: "the connection to the server was lost", shared: true}
	default:
		return judgeNetwork(err)
	}
}

func mysqlVerdict(e *driver.MySQLError) verdict {
	m, ok := mysqlNumbers()[e.Number]
	if !ok {
		m, ok = mysqlStates()[string(e.SQLState[:2])]
	}
	if !ok {
		m = meaning{class: connectors.Transient, text: "the server answered with an error"}
	}
	v := verdict{class: m.class, code: fmt.Sprint(e.Number), text: m.text, shared: m.shared, waited: m.waited, noTable: e.Number == 1146}
	v.said = join(e.Message)
	if m.quote {
		v.text += ": " + oneLine(e.Message)
		v.said = ""
	}
	return v
}
