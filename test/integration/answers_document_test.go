package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connhttp"
	"github.com/hms-utl/extsync/pkg/connectors/connsql"
)

const answersDocument = "docs/answers.md"

const answersHead = `# What answers mean

Made from the connectors themselves by ` + "`make docs`" + `. The class of an answer says what can help; whether it is the update's fault or the channel's is said by
who else gets through ([guarantee 6](guarantees.md), [ADR 48](adr/0048-whose-fault.md)).

| class | then |
|---|---|
| ok | delivered |
| transient | tried again; once others get through, ` + "`retry.max_attempts`" + ` times |
| throttled | tried again when the target has asked for, or with a backoff; nothing is spent |
| unready | tried again for ` + "`retry.unready_for`" + ` in which others get through, sooner when one of them is delivered; then a dead letter |
| misconfigured | as transient; if nobody gets through the channel is blocked until somebody acts |
| permanent | a dead letter at the first attempt |
| conflict | a dead letter at the first attempt, with the outcome conflict |
`

// docs/answers.md says what each answer of a target means.
func TestListOfAnswersIsUpToDate(t *testing.T) {
	var out strings.Builder
	out.WriteString(answersHead)
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
	section("HTTP", "The first line that has the status counts; a channel's `statuses` change it, but for 404 and 410 to a delete, which are ok. `on_gone: pause` makes 410 misconfigured.",
		[]string{"status", "class", "why"}, connhttp.Statuses())
	columns := []string{"code", "class", "what", "why"}
	section("PostgreSQL", "Of a state that is not listed its first two characters count; what is in neither is transient.", columns, connsql.Codes("postgres"))
	section("MySQL and MariaDB", "Of a number that is not listed the first two characters of the SQLSTATE count; what is in neither is transient.", columns, connsql.Codes("mysql"))
	section("SQLite", "Of an extended code that is not listed its low byte counts; what is in neither is transient.", columns, connsql.Codes("sqlite"))
	if os.Getenv(updateVariable) != "" {
		if err := os.WriteFile(filepath.Join(repository, answersDocument), []byte(out.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if document(t, answersDocument) != out.String() {
		t.Errorf("%s is out of date: run make docs", answersDocument)
	}
}
