package compare

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// floorTable is what a floor loop writes: the same content, without what extsync
// keeps besides.
const (
	floorTable  = `CREATE TABLE copies (key text PRIMARY KEY, version bigint NOT NULL, content %s NOT NULL)`
	floorUpsert = `INSERT INTO copies AS t (key, version, content)
SELECT k, v, c::jsonb FROM unnest($1::text[], $2::bigint[], $3::text[]) AS i(k, v, c)
ON CONFLICT (key) DO UPDATE SET version = EXCLUDED.version, content = EXCLUDED.content WHERE t.version < EXCLUDED.version`
)

// row is one update as the floor writes it.
type row struct {
	key, content string
	version      int64
}

// rows returns the newest update of each key: PostgreSQL refuses to touch a row
// twice in one statement.
func rows(batch []jetstream.Msg) ([]row, error) {
	at := make(map[string]int, len(batch))
	out := make([]row, 0, len(batch))
	for _, m := range batch {
		v, err := strconv.ParseInt(m.Headers().Get(events.HeaderVersion), 10, 64)
		if err != nil {
			return nil, err
		}
		r := row{key: m.Headers().Get(events.HeaderSubject), content: string(m.Data()), version: v}
		i, twice := at[r.key]
		switch {
		case !twice:
			at[r.key] = len(out)
			out = append(out, r)
		case out[i].version < v:
			out[i] = r
		}
	}
	return out, nil
}

func upsert(ctx context.Context, pool *pgxpool.Pool, batch []jetstream.Msg) error {
	list, err := rows(batch)
	if err != nil {
		return err
	}
	keys, versions, contents := make([]string, len(list)), make([]int64, len(list)), make([]string, len(list))
	for i, r := range list {
		keys[i], versions[i], contents[i] = r.key, r.version, r.content
	}
	_, err = pool.Exec(ctx, floorUpsert, keys, versions, contents)
	return err
}

func upsertSQLite(ctx context.Context, db *sql.DB, batch []jetstream.Msg) error {
	list, err := rows(batch)
	if err != nil {
		return err
	}
	args := make([]any, 0, 3*len(list))
	for _, r := range list {
		args = append(args, r.key, r.version, r.content)
	}
	_, err = db.ExecContext(ctx, `INSERT INTO copies (key, version, content) VALUES `+strings.Repeat(",(?,?,?)", len(list))[1:]+
		` ON CONFLICT (key) DO UPDATE SET version = excluded.version, content = excluded.content WHERE version < excluded.version`, args...)
	return err
}

// makeFloorTable makes the table of a floor loop.
func makeFloorTable(ctx context.Context, o FloorOptions) (err error) {
	if o.Postgres != "" {
		conn, err := pgx.Connect(ctx, o.Postgres)
		if err != nil {
			return err
		}
		_, err = conn.Exec(ctx, fmt.Sprintf(floorTable, "jsonb"))
		return errors.Join(err, conn.Close(ctx))
	}
	db, err := sql.Open("sqlite", "file:"+o.SQLite)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, fmt.Sprintf(floorTable, "text"))
	return errors.Join(err, db.Close())
}
