package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connamqp"
	"github.com/hms-utl/extsync/pkg/connectors/conncaldav"
	"github.com/hms-utl/extsync/pkg/connectors/connfile"
	"github.com/hms-utl/extsync/pkg/connectors/connkafka"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
	"github.com/hms-utl/extsync/pkg/connectors/connmqtt"
	"github.com/hms-utl/extsync/pkg/connectors/connnats"
	"github.com/hms-utl/extsync/pkg/connectors/connredis"
	"github.com/hms-utl/extsync/pkg/connectors/conns3"
	"github.com/hms-utl/extsync/pkg/connectors/connsql"
)

const answersDocument = "docs/answers.md"

// tablesBelow divides the part of the document that is written by hand from the tables.
const tablesBelow = "<!-- The tables below are made from the connectors themselves by `make docs`. -->\n"

// docs/answers.md says what each answer of a target means.
func TestListOfAnswersIsUpToDate(t *testing.T) {
	var out strings.Builder
	written := document(t, answersDocument)
	head, _, found := strings.Cut(written, tablesBelow)
	if !found {
		t.Fatalf("%s has no line %q", answersDocument, tablesBelow)
	}
	out.WriteString(head + tablesBelow)
	section := func(title, text string, columns []string, all []connectors.Meaning) {
		fmt.Fprintf(&out, "\n## %s\n\n%s\n\n| %s |\n|%s\n", title, text, strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
		for _, m := range all {
			cells := []string{m.Code, m.Class.String()}
			if m.What != "" {
				cells = append(cells, m.What)
			}
			fmt.Fprintf(&out, "| %s |\n", strings.Join(append(cells, m.Why), " | "))
			if m.Why == "" {
				t.Errorf("%s: %s is %s, and nobody says why", title, m.Code, m.Class)
			}
		}
	}
	section("HTTP", "Where no rule matches, the first line that has the status counts. 404 and 410 to a delete are ok.",
		[]string{"status", "class", "why"}, httpkit.Statuses())
	columns := []string{"code", "class", "what", "why"}
	section("PostgreSQL", "Of a state that is not listed its first two characters count; what is in neither is transient.", columns, connsql.Codes("postgres"))
	section("MySQL and MariaDB", "Of a number that is not listed the first two characters of the SQLSTATE count; what is in neither is transient.", columns, connsql.Codes("mysql"))
	section("SQLite", "Of an extended code that is not listed its low byte counts; what is in neither is transient.", columns, connsql.Codes("sqlite"))
	section("Files", "Of the kinds file and sftp. What is not listed is an error of the network, and transient.", columns, connfile.Codes())
	section("S3", "Where a store gives no code, or one that is not listed, the status counts; what is in neither is transient. 412 to a condition is no answer of its own: what the store holds is read again.", columns, conns3.Codes())
	section("Redis", "The error of the server begins with the code, or with what stands behind it. An error that is not listed is transient. In a cluster MOVED and ASK are followed once, and are transient then.", columns, connredis.Codes())
	section("NATS", "A number is one of JetStream's API. What is not listed is transient. A message that is not the last one of its key any more is read, and decided about again.", columns, connnats.Codes())
	section("CalDAV", "Of the condition that the server names (RFC 4791). Where it names none, the status counts as for HTTP, but for those at the end.", columns, conncaldav.Codes())
	section("AMQP", "Numbers are those of the protocol. What is not listed is an error of the network, and transient.", columns, connamqp.Codes())
	section("Kafka", "Capitals are names of the protocol. What is not listed is another error of the protocol, or one of the network, and transient.", columns, connkafka.Codes())
	section("MQTT", "A number is a reason code of MQTT 5, in the answer to a message or as the broker ended the connection. What is not listed is an error of the network, and transient.", columns, connmqtt.Codes())
	if os.Getenv(updateVariable) != "" {
		if err := os.WriteFile(filepath.Join(repository, answersDocument), []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if written != out.String() && os.Getenv(updateVariable) == "" {
		t.Errorf("%s is out of date: run make docs", answersDocument)
	}
}
