package relay

import (
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/outbox"
)

// A speech is how statements differ from one database to the next.
type speech struct {
	key    string // the column
	quoted bool   // parameters are ?, and not $1
	// locks is what a statement ends with that claims rows; "" if only one relay works.
	locks string
	// bounds has the database end a transaction that nothing comes for.
	bounds string
	// age is how old a row is, and made when it was made, in microseconds since 1970.
	age, made string
	now       string
	size      string // of the payload, in bytes
}

func speechOf(d outbox.Dialect) speech {
	switch d {
	case outbox.MySQL:
		return speech{
			key: "`key`", quoted: true, locks: " FOR UPDATE SKIP LOCKED",
			age:  "timestampdiff(microsecond, created_at, current_timestamp(6))",
			made: "cast(unix_timestamp(created_at) * 1000000 AS signed)",
			now:  "current_timestamp(6)", size: "coalesce(length(payload), 0)",
		}
	case outbox.SQLite:
		return speech{
			key: "key", quoted: true,
			age:  "cast((julianday('now') - julianday(created_at)) * 86400000000 AS integer)",
			made: "cast((julianday(created_at) - 2440587.5) * 86400000000 AS integer)",
			now:  "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')", size: "coalesce(length(payload), 0)",
		}
	}
	return speech{
		key: "key", locks: " FOR UPDATE SKIP LOCKED", bounds: "SET LOCAL idle_in_transaction_session_timeout = '20s'",
		age:  "cast(extract(epoch FROM clock_timestamp() - created_at) * 1000000 AS bigint)",
		made: "cast(extract(epoch FROM created_at) * 1000000 AS bigint)",
		now:  "clock_timestamp()", size: "coalesce(octet_length(payload), 0)",
	}
}

// list returns parameters from number first on, n of them, between brackets.
func (s speech) list(first, n int) string {
	var out strings.Builder
	out.WriteByte('(')
	for i := range n {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(s.param(first + i))
	}
	out.WriteByte(')')
	return out.String()
}

func (s speech) param(number int) string {
	if s.quoted {
		return "?"
	}
	return "$" + strconv.Itoa(number)
}

// nextTarget finds the target after another that has rows.
func (s speech) nextTarget() string {
	return "SELECT min(target) FROM extsync_outbox WHERE noted_at IS NULL AND target > " + s.param(1)
}

// window finds the oldest rows of a target. The first of each key in it is the oldest of
// its key.
func (s speech) window(most int) string {
	return "SELECT id, " + s.key + " FROM extsync_outbox WHERE noted_at IS NULL AND target = " + s.param(1) + " ORDER BY id LIMIT " + strconv.Itoa(most)
}

// rows reads rows by their ids, at most so many of them, each text cut where it is longer
// than any that is good, and no payload that is longer than the last parameter.
func (s speech) rows(n, most int) string {
	size := s.size
	return "SELECT id, substr(" + s.key + ", 1, 1025), substr(version, 1, 65), substr(op, 1, 65), substr(content_type, 1, 1025)," +
		" substr(coalesce(base, ''), 1, 65), substr(coalesce(reply_to, ''), 1, 4097), " + s.made + ", " + size +
		", CASE WHEN " + size + " <= " + s.param(1) + " THEN payload END" +
		" FROM extsync_outbox WHERE noted_at IS NULL AND id IN " + s.list(2, n) + " ORDER BY id LIMIT " + strconv.Itoa(most)
}

func (s speech) remove(n int) string { return "DELETE FROM extsync_outbox WHERE id IN " + s.list(1, n) }

func (s speech) setAside() string {
	return "UPDATE extsync_outbox SET note = " + s.param(1) + ", noted_at = " + s.now + " WHERE id = " + s.param(2)
}

// oldest finds the oldest row of a target, and says how old it is.
func (s speech) oldest() string {
	return "SELECT id, " + s.age + " FROM extsync_outbox WHERE noted_at IS NULL AND target = " + s.param(1) + " ORDER BY id LIMIT 1"
}

// aside counts rows that were set aside.
func (s speech) aside() string {
	return "SELECT target, count(*) FROM extsync_outbox WHERE noted_at IS NOT NULL GROUP BY target"
}

// listAside lists rows that were set aside.
func (s speech) listAside(most int) string {
	return "SELECT id, target, substr(" + s.key + ", 1, 200), substr(version, 1, 65), coalesce(note, '') FROM extsync_outbox" +
		" WHERE noted_at IS NOT NULL ORDER BY id LIMIT " + strconv.Itoa(most)
}
