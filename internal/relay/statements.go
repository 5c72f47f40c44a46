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
	// begin is the first statement of a claim. It has the database end a transaction that
	// nothing comes for, and use indexes: what it knows of a table that is empty most of
	// the time says that it is small.
	begin string
	// age is how old a row is, and made when it was made, in microseconds since 1970.
	age, made string
	now       string
	size      string // of the payload, in bytes
	byID      string // has rows found by their ids, however small the table seems to be
}

// postgresTimes are the times that count: infinity is one for PostgreSQL, and no number.
const postgresTimes = "created_at BETWEEN '1970-01-01' AND '9999-12-31'"

func speechOf(d outbox.Dialect) speech {
	switch d {
	case outbox.MySQL:
		return speech{
			key: "`key`", quoted: true, locks: " FOR UPDATE SKIP LOCKED",
			age:  "coalesce(timestampdiff(microsecond, created_at, current_timestamp(6)), 0)",
			made: "coalesce(cast(unix_timestamp(created_at) * 1000000 AS signed), 0)",
			byID: " FORCE INDEX (PRIMARY)",
			now:  "current_timestamp(6)", size: "coalesce(length(payload), 0)",
		}
	case outbox.SQLite:
		return speech{
			key: "key", quoted: true,
			// Anything may stand in the column; what is no time counts for nothing.
			age:  "coalesce(cast((julianday('now') - julianday(created_at)) * 86400000000 AS integer), 0)",
			made: "coalesce(cast((julianday(created_at) - 2440587.5) * 86400000000 AS integer), 0)",
			now:  "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')", size: "coalesce(length(cast(payload AS blob)), 0)",
		}
	}
	return speech{
		key: "key", locks: " FOR UPDATE SKIP LOCKED",
		begin: "SELECT set_config('idle_in_transaction_session_timeout', '20s', true)," +
			" set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)",
		age:  "CASE WHEN " + postgresTimes + " THEN cast(extract(epoch FROM clock_timestamp() - created_at) * 1000000 AS bigint) ELSE 0 END",
		made: "CASE WHEN " + postgresTimes + " THEN cast(extract(epoch FROM created_at) * 1000000 AS bigint) ELSE 0 END",
		now:  "clock_timestamp()", size: "coalesce(octet_length(payload), 0)",
	}
}

// among returns a condition that an id is one of these, whose parameters begin with number
// first, and the arguments.
func (s speech) among(first int, ids []int64) (text string, args []any) {
	if !s.quoted {
		return "id = ANY(" + s.param(first) + ")", []any{ids}
	}
	args = make([]any, len(ids))
	for i, id := range ids {
		args[i] = id
	}
	return "id IN (" + strings.Repeat("?,", len(ids)-1) + "?)", args
}

func (s speech) param(number int) string {
	if s.quoted {
		return "?"
	}
	return "$" + strconv.Itoa(number)
}

// firstTarget finds the first target that has rows, nextTarget the one after another.
func (s speech) firstTarget() string {
	return "SELECT target FROM extsync_outbox WHERE noted_at IS NULL ORDER BY target LIMIT 1"
}

func (s speech) nextTarget() string {
	return "SELECT target FROM extsync_outbox WHERE noted_at IS NULL AND target > " + s.param(1) + " ORDER BY target LIMIT 1"
}

// window finds the oldest rows of a target. The first of each key in it is the oldest of
// its key.
func (s speech) window(most int) string {
	return "SELECT id, substr(" + s.key + ", 1, 1025), " + s.size + " FROM extsync_outbox WHERE noted_at IS NULL AND target = " + s.param(1) + " ORDER BY id LIMIT " + strconv.Itoa(most)
}

// rows reads rows by their ids, each text cut where it is longer than any that is good, and
// no payload that is longer than so many bytes. A condition on noted_at would have
// PostgreSQL take the wrong index.
func (s speech) rows(ids []int64, longest int64) (text string, args []any) {
	among, args := s.among(2, ids)
	return "SELECT id, substr(" + s.key + ", 1, 1025), substr(version, 1, 65), substr(op, 1, 65), substr(content_type, 1, 1025)," +
		" substr(coalesce(base, ''), 1, 65), substr(coalesce(reply_to, ''), 1, 4097), " + s.made + ", " + s.size +
		", CASE WHEN " + s.size + " <= " + s.param(1) + " THEN payload END, CASE WHEN noted_at IS NULL THEN 0 ELSE 1 END" +
		" FROM extsync_outbox" + s.byID + " WHERE " + among + " ORDER BY id", append([]any{longest}, args...)
}

func (s speech) remove(ids []int64) (text string, args []any) {
	among, args := s.among(1, ids)
	return "DELETE FROM extsync_outbox WHERE " + among, args
}

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
