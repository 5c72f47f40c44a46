package connsql

import (
	"context"
	"crypto/x509"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	driver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// classes are the codes of a dialect that must give a class.
type classes map[connectors.Class][]string

func (all classes) check(t *testing.T, judge func(code string) verdict) {
	t.Helper()
	for class, codes := range all {
		for _, code := range codes {
			v := judge(code)
			if v.class != class {
				t.Errorf("%s is %s, want %s", code, v.class, class)
			}
			if v.code != code || v.text == "" {
				t.Errorf("%s gives code %q and text %q", code, v.code, v.text)
			}
			// What blocks a channel or slows it down must not be looked for in a row.
			if (class == connectors.Misconfigured || class == connectors.Throttled) && !v.shared {
				t.Errorf("%s is %s and not shared", code, class)
			}
			own := class == connectors.Permanent || class == connectors.Unready
			if own && v.shared {
				t.Errorf("%s is %s for all rows", code, class)
			}
			if own && strings.Contains(v.text, "value-canary") {
				t.Errorf("%s shows a value: %s", code, v.text)
			}
		}
	}
}

func TestPostgresClasses(t *testing.T) {
	classes{
		connectors.Transient: {
			"08000", "08003", "08006", "21000", "25006", "40000", "40001", "40003", "40P01", "53000", "53100", "53200",
			"55P03", "55006", "26000", "42P05", "57014", "57P01", "57P02", "57P03", "57P05", "58030", "XX000", "00ABC", "ZZZZZ",
		},
		connectors.Throttled: {"53300", "53400"},
		connectors.Permanent: {
			"22001", "22003", "22007", "22021", "22P02", "22P05", "23000", "23502", "23514",
			"38000", "39004", "44000", "54001", "P0000",
		},
		connectors.Unready: {"23001", "23503", "23505", "23P01", "54000", "P0001", "P0002", "P0003", "P0004"},
		connectors.Misconfigured: {
			"0A000", "28000", "28P01", "3D000", "3F000", "42501", "42601", "42703", "42804", "42P01", "42P10", "55000", "57P04",
		},
	}.check(t, func(code string) verdict {
		return postgresVerdict(&pgconn.PgError{Code: code, Message: "value-canary", Detail: "value-canary"})
	})
}

func TestPostgresNamesWhatIsNoValue(t *testing.T) {
	v := postgresVerdict(&pgconn.PgError{
		Code: "23505", Message: "value-canary", Detail: "value-canary", Where: "value-canary", Hint: "value-canary",
		TableName: "policies", ConstraintName: "policies_number\nkey",
	})
	if want := "another row has the same unique value (table policies) (constraint policies_number key)"; v.text != want {
		t.Errorf("text %q, want %q", v.text, want)
	}
	if want := "value-canary; value-canary; value-canary"; v.said != want { // for the response, where values may be
		t.Errorf("said %q, want %q", v.said, want)
	}
}

// What a trigger says is why it refuses the row; nothing else tells.
func TestWordsOfTheDatabaseAreTheResponse(t *testing.T) {
	c := &connector{}
	v := postgresVerdict(&pgconn.PgError{Code: "P0001", Message: "closed\nyear", Hint: strings.Repeat("é", connectors.MaxResponse)})
	res := c.failed(t.Context(), v)
	if !strings.HasPrefix(res.Response, "closed year; é") || len(res.Response) > connectors.MaxResponse || !utf8.ValidString(res.Response) {
		t.Errorf("response %q", res.Response)
	}
	if strings.Contains(res.Err.Error(), "closed") {
		t.Errorf("the error shows what may be a value: %v", res.Err)
	}
}

func TestMySQLClasses(t *testing.T) {
	classes{
		connectors.Transient: {
			"1205", "3572", "1213", "1614", "1020", "1317", "1969", "3024", "1053", "1158", "1159", "1160", "1161", "1184",
			"1927", "2006", "2013", "1290", "1792", "1836", "1021", "1041", "1114", "1105", "9999",
		},
		connectors.Throttled: {"1040", "1203", "1226"},
		connectors.Permanent: {
			"1048", "3819", "4025", "1264", "1265", "1292", "1366", "1406",
			"1690", "3140", "4038", "1300", "1118", "1153", "1442",
		},
		connectors.Unready: {"1022", "1062", "1216", "1217", "1451", "1452", "1526", "1644", "1172", "1329", "1761", "1762"},
		connectors.Misconfigured: {
			"1044", "1045", "1130", "1698", "1820", "1862", "3118", "4151", "1142", "1143", "1227", "1049", "1146", "1054", "1364", "1288", "1471", "1906", "3105",
		},
	}.check(t, func(code string) verdict {
		e := &driver.MySQLError{Message: "value-canary"}
		if _, err := fmt.Sscan(code, &e.Number); err != nil {
			t.Fatal(err)
		}
		copy(e.SQLState[:], "HY000")
		return judgeMySQL(fmt.Errorf("wrapped: %w", e))
	})
}

func TestMySQLStates(t *testing.T) {
	for state, want := range map[string]connectors.Class{
		"08S01": connectors.Transient, "22007": connectors.Permanent, "23000": connectors.Permanent, "28000": connectors.Misconfigured,
		"40001": connectors.Transient, "42000": connectors.Misconfigured, "45000": connectors.Unready, "HY000": connectors.Transient,
	} {
		e := &driver.MySQLError{Number: 9999, Message: "value-canary"}
		copy(e.SQLState[:], state)
		if v := judgeMySQL(e); v.class != want || strings.Contains(v.text, "canary") {
			t.Errorf("%s is %s (%s), want %s", state, v.class, v.text, want)
		}
	}
}

func TestMySQLDriverErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want connectors.Class
		code string
	}{
		{driver.ErrInvalidConn, connectors.Transient, "connection"},
		{sqldriver.ErrBadConn, connectors.Transient, "connection"},
		{driver.ErrNoTLS, connectors.Misconfigured, "tls"},
		{driver.ErrNativePassword, connectors.Misconfigured, "login"},
		{driver.ErrCleartextPassword, connectors.Misconfigured, "login"},
		{driver.ErrPktTooLarge, connectors.Permanent, "1153"},
		{errNoUnique, connectors.Misconfigured, "no-unique"},
	} {
		if v := judgeMySQL(fmt.Errorf("wrapped: %w", c.err)); v.class != c.want || v.code != c.code {
			t.Errorf("%v is %s, %q; want %s, %q", c.err, v.class, v.code, c.want, c.code)
		}
	}
}

// The driver makes SQLite's errors itself, with fields that others cannot set, so
// this goes through the list of codes; real ones are met by the other tests.
func TestSQLiteClasses(t *testing.T) {
	classes{
		connectors.Transient:     {"5", "6", "9", "7", "10", "13", "15", "17", "4", "261", "517", "2826", "99"},
		connectors.Permanent:     {"19", "275", "1299", "3091", "20", "18", "25", "1"},
		connectors.Unready:       {"787", "1555", "1811", "2067", "2579"},
		connectors.Misconfigured: {"3", "23", "8", "14", "26", "11", "22", "1032", "270"},
	}.check(t, func(code string) verdict {
		var n int
		if _, err := fmt.Sscan(code, &n); err != nil {
			t.Fatal(err)
		}
		v := sqliteVerdict(n)
		v.code = strings.TrimPrefix(v.code, "sqlite-")
		return v
	})
}

func TestNetworkClasses(t *testing.T) {
	const secret = "canary"
	for _, c := range []struct {
		err  error
		want connectors.Class
		code string
	}{
		{&net.DNSError{Err: secret, Name: "db.example", Server: secret}, connectors.Transient, "dns"},
		{context.DeadlineExceeded, connectors.Transient, "timeout"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, connectors.Transient, "refused"},
		{&net.OpError{Op: "dial", Err: syscall.ENOENT}, connectors.Transient, "refused"},
		{&net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}, connectors.Transient, "timeout"},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, connectors.Transient, "reset"},
		{&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}, connectors.Transient, "unreachable"},
		{io.ErrUnexpectedEOF, connectors.Transient, "closed"},
		{net.ErrClosed, connectors.Transient, "closed"},
		{x509.UnknownAuthorityError{}, connectors.Misconfigured, "tls_verify"},
		{errors.New(secret), connectors.Transient, "transport"},
	} {
		v := judgeNetwork(fmt.Errorf("%s: %w", secret, c.err))
		if v.class != c.want || v.code != c.code || !v.shared {
			t.Errorf("%v is %s, %q, shared %t; want %s, %q, shared", c.err, v.class, v.code, v.shared, c.want, c.code)
		}
		if strings.Contains(v.text, secret) {
			t.Errorf("%v shows what the driver said: %s", c.err, v.text)
		}
	}
}
