package relay

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hms-utl/extsync/pkg/outbox"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// ErrQuery says that a query cannot be used, and why.
var ErrQuery = errors.New("the query cannot be used")

// maxQueryLen bounds a query, in bytes.
const maxQueryLen = 64 << 10

// since is how a query names the version after which it is to begin.
const since = ":since"

// A Query is a statement of a dialect that selects the rows of the platform's own tables. The
// zero Query is none.
type Query struct {
	text     string // with the dialect's parameters, without a semicolon at its end
	marks    int    // how often :since was in it
	versions versioning.Kind
}

// ParseQuery reads a query in which :since stands for the version after which it is to begin:
// a number or a time. What is within quotes and comments stays as it is. The error wraps
// ErrQuery.
func ParseQuery(d outbox.Dialect, versions versioning.Kind, text string) (Query, error) {
	if len(text) > maxQueryLen {
		return Query{}, fmt.Errorf("%w: %d bytes are more than %d", ErrQuery, len(text), maxQueryLen)
	}
	s := scanner{dialect: d, rest: text, parameter: parameter(d, versions)}
	for s.rest != "" && s.err == nil {
		s.step()
	}
	switch {
	case s.err != nil:
		return Query{}, fmt.Errorf("%w: %w", ErrQuery, s.err)
	case s.marks == 0:
		return Query{}, fmt.Errorf("%w: %s is not in it, as in: SELECT id AS \"key\", version, payload FROM policies WHERE version > %s", ErrQuery, since, since)
	}
	return Query{text: s.out.String(), marks: s.marks, versions: versions}, nil
}

// parameter returns what stands for :since. The spaces keep it from becoming a part of
// something else. PostgreSQL would otherwise take it for a text where it is compared with one,
// and 9 for more than 10.
func parameter(d outbox.Dialect, versions versioning.Kind) string {
	switch {
	case d != outbox.Postgres:
		return " ? "
	case versions == versioning.Timed:
		return " $1::timestamptz "
	}
	return " $1::bigint "
}

// A scanner copies a query, with a parameter in place of each :since.
type scanner struct {
	dialect   outbox.Dialect
	rest      string
	out       strings.Builder
	parameter string
	marks     int
	ended     bool // by a semicolon
	err       error
}

// copy copies n bytes.
func (s *scanner) copy(n int) {
	s.out.WriteString(s.rest[:n])
	s.rest = s.rest[n:]
}

// step copies the next part: a character, what is within quotes, or a comment.
func (s *scanner) step() {
	switch {
	case s.comment():
		return
	case strings.TrimLeft(s.rest[:1], " \t\r\n\f\v") == "":
		s.copy(1)
		return
	case s.ended:
		s.err = errors.New("it is more than one statement")
		return
	case s.rest[0] == ';':
		s.ended, s.rest = true, s.rest[1:]
		return
	case s.quoted():
		return
	case strings.HasPrefix(s.rest, "::"): // a cast
		s.copy(2)
		return
	case strings.HasPrefix(s.rest, since) && !inWord(s.rest[len(since):]):
		s.mark()
		return
	case inWord(s.rest):
		s.word()
		return
	}
	s.copy(1)
}

func (s *scanner) mark() {
	s.marks++
	s.rest = s.rest[len(since):]
	s.out.WriteString(s.parameter)
}

// word copies a name or number; a $ within one begins no quote. One that is E right before a
// quote has PostgreSQL read backslashes in the text that follows.
func (s *scanner) word() {
	n := 1
	for n < len(s.rest) && (inWord(s.rest[n:]) || s.rest[n] == '$' && s.dialect != outbox.SQLite) {
		n++
	}
	escapes := s.dialect == outbox.Postgres && n == 1 && (s.rest[0] == 'E' || s.rest[0] == 'e')
	s.copy(n)
	if escapes && strings.HasPrefix(s.rest, "'") {
		s.text('\'', true)
	}
}

// inWord reports whether a text begins with a character of a name or number.
func inWord(text string) bool {
	if text == "" {
		return false
	}
	c := text[0]
	return c == '_' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// comment copies a comment, if there is one.
func (s *scanner) comment() bool {
	mysql := s.dialect == outbox.MySQL
	switch {
	case strings.HasPrefix(s.rest, "--") && (!mysql || len(s.rest) == 2 || s.rest[2] <= ' '), mysql && s.rest[0] == '#':
		end := strings.IndexByte(s.rest, '\n')
		if end < 0 {
			end = len(s.rest)
		}
		s.copy(end)
		return true
	case strings.HasPrefix(s.rest, "/*"):
		s.copy(2)
		for depth := 1; depth > 0; {
			switch {
			case s.rest == "":
				s.err = errors.New("a comment does not end")
				return true
			case strings.HasPrefix(s.rest, "*/"):
				depth--
				s.copy(2)
			case s.dialect == outbox.Postgres && strings.HasPrefix(s.rest, "/*"):
				depth++
				s.copy(2)
			default:
				s.copy(1)
			}
		}
		return true
	}
	return false
}

// quoted copies what is within quotes, if there are some.
func (s *scanner) quoted() bool {
	mysql := s.dialect == outbox.MySQL
	switch c := s.rest[0]; {
	case c == '\'' || c == '"':
		s.text(c, mysql)
	case c == '`' && s.dialect != outbox.Postgres:
		s.text(c, false)
	case c == '[' && s.dialect == outbox.SQLite:
		s.until("]", 1)
	case c == '$' && s.dialect == outbox.Postgres:
		return s.dollars()
	default:
		return false
	}
	return true
}

// text copies from one quote to the next of its kind. Two of them in a row end nothing.
func (s *scanner) text(quote byte, escapes bool) {
	for i := 1; i < len(s.rest); i++ {
		switch {
		case escapes && s.rest[i] == '\\':
			i++
		case s.rest[i] == quote:
			if i+1 < len(s.rest) && s.rest[i+1] == quote {
				i++
				continue
			}
			s.copy(i + 1)
			return
		}
	}
	s.err = fmt.Errorf("a %c has no end", quote)
}

// dollars copies a text between $tag$ and $tag$, if there is one.
func (s *scanner) dollars() bool {
	n := 1
	for n < len(s.rest) && inWord(s.rest[n:]) {
		n++
	}
	if n >= len(s.rest) || s.rest[n] != '$' || n > 1 && s.rest[1] >= '0' && s.rest[1] <= '9' {
		return false
	}
	s.until(s.rest[:n+1], n+1)
	return true
}

// until copies n bytes, and then up to the end of an end.
func (s *scanner) until(end string, n int) {
	at := strings.Index(s.rest[n:], end)
	if at < 0 {
		s.err = fmt.Errorf("a %s has no end", s.rest[:n])
		return
	}
	s.copy(n + at + len(end))
}
