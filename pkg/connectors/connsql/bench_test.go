package connsql_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// What one batch of the benchmarks is.
const (
	batchRows   = 200
	batchesKeys = 10 // batches until a key comes again
)

// BenchmarkBatch measures one connection writing batches of 200 updates: through
// the connector ("apply"), and through the driver alone with the plainest upsert
// of the same rows into a table of the same shape, without a guard ("floor").
// They take turns, so that whatever else the machine does hits both. The floor
// is measured twice; what the two differ by is noise.
func BenchmarkBatch(b *testing.B) {
	for name, newTarget := range sqlTargets() {
		b.Run(name, func(b *testing.B) {
			d := newTarget(b)
			if d.dialect != "sqlite" {
				d.dsn = d.adminAt // not through the proxy
			}
			c := d.openHere(b, "auto_create: true\n")
			want(b, apply(b, c, attempt("made", 1, `{}`))[0], connectors.OK, "")
			lanes := map[string]func([]connectors.Attempt) error{
				"apply": func(batch []connectors.Attempt) error {
					for _, res := range c.Apply(b.Context(), batch) {
						if res.Class != connectors.OK {
							return res.Err
						}
					}
					return nil
				},
				"floor": d.floor(b, "floor_1"), "floor-again": d.floor(b, "floor_2"),
			}
			measure(b, lanes)
		})
	}
}

func measure(b *testing.B, lanes map[string]func([]connectors.Attempt) error) {
	b.Helper()
	spent := make(map[string]time.Duration)
	n := 0
	for b.Loop() {
		batch := benchmarkBatch(n)
		n++
		for name, write := range lanes { // in a random order
			start := time.Now()
			if err := write(batch); err != nil {
				b.Fatal(name, err)
			}
			spent[name] += time.Since(start)
		}
	}
	for name, took := range spent {
		b.ReportMetric(float64(n)*batchRows/took.Seconds(), name+"-rows/s")
	}
	b.ReportMetric(spent["floor"].Seconds()/spent["apply"].Seconds(), "ratio")
	b.ReportMetric(spent["floor"].Seconds()/spent["floor-again"].Seconds(), "floor/floor")
}

func benchmarkBatch(n int) []connectors.Attempt {
	payload := `{"policy":"p-2023-vax","holder":"` + strings.Repeat("x", 200) + `","premium":12.5}`
	batch := make([]connectors.Attempt, batchRows)
	for i := range batch {
		batch[i] = attempt(fmt.Sprintf("policy-%02d-%03d", n%batchesKeys, i), int64(n)+1, payload)
	}
	return batch
}

// BenchmarkApply measures the same with new keys and batches as a worker makes
// them, each lane by itself: what it allocates, and its time beside that of the
// smallest statement which writes the payloads under a guard ("bare").
func BenchmarkApply(b *testing.B) {
	for name, newTarget := range sqlTargets() {
		b.Run(name, func(b *testing.B) {
			d := newTarget(b)
			if d.dialect != "sqlite" {
				d.dsn = d.adminAt // not through the proxy
			}
			c := d.openHere(b, "auto_create: true\n")
			want(b, apply(b, c, attempt("made", 1, `{}`))[0], connectors.OK, "")
			b.Run("apply", func(b *testing.B) {
				run(b, func(batch []connectors.Attempt) error {
					for _, res := range c.Apply(b.Context(), batch) {
						if res.Class != connectors.OK {
							return res.Err
						}
					}
					return nil
				})
			})
			if d.dialect == "postgres" {
				b.Run("bare", func(b *testing.B) { run(b, d.bare(b)) })
			}
		})
	}
}

func run(b *testing.B, write func([]connectors.Attempt) error) {
	b.Helper()
	const rows = 500
	payload := `{"text":"` + strings.Repeat("x", 289) + `"}`
	batch := make([]connectors.Attempt, rows)
	for i := range batch {
		batch[i] = attempt("", 1, payload)
	}
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range batch {
			// As their hashes would, keys come in no order.
			batch[i].Key = fmt.Sprintf("entity-%07d", (n*7919+i*104729)%10_000_000)
		}
		n += rows
		b.StartTimer()
		if err := write(batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "us/row")
}

// bare makes a table that holds the payloads and their versions only.
func (d *target) bare(b *testing.B) func([]connectors.Attempt) error {
	b.Helper()
	pool, err := pgxpool.New(b.Context(), d.adminAt)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	d.exec(b, `DROP TABLE IF EXISTS bare`, `CREATE TABLE bare (key text PRIMARY KEY, version bigint NOT NULL, content jsonb NOT NULL)`)
	return func(batch []connectors.Attempt) error {
		keys, versions, contents := make([]string, len(batch)), make([]int64, len(batch)), make([]string, len(batch))
		for i, a := range batch {
			keys[i], contents[i] = a.Key, string(a.Payload)
			versions[i], _ = a.Version.Int64()
		}
		_, err := pool.Exec(b.Context(), `INSERT INTO bare AS t SELECT k, v, c::jsonb FROM unnest($1::text[], $2::bigint[], $3::text[]) AS i(k, v, c)
			ON CONFLICT (key) DO UPDATE SET version = EXCLUDED.version, content = EXCLUDED.content WHERE t.version < EXCLUDED.version`, keys, versions, contents)
		return err
	}
}

// floor makes a table and returns what writes batches into it.
func (d *target) floor(b *testing.B, name string) func([]connectors.Attempt) error {
	b.Helper()
	switch d.dialect {
	case "postgres":
		return d.postgresFloor(b, name)
	case "mysql":
		return d.mysqlFloor(b, name)
	default:
		return d.sqliteFloor(b, name)
	}
}

func (d *target) postgresFloor(b *testing.B, name string) func([]connectors.Attempt) error {
	pool, err := pgxpool.New(b.Context(), d.adminAt)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	d.exec(b, `CREATE TABLE `+name+` (key text COLLATE "C" PRIMARY KEY, version bigint NOT NULL, version_nanos integer NOT NULL, digest text NOT NULL, op text NOT NULL, content jsonb, updated_at timestamptz NOT NULL)`)
	return func(batch []connectors.Attempt) error {
		keys, versions, nanos := make([]string, batchRows), make([]int64, batchRows), make([]int32, batchRows)
		digests, ops, contents := make([]string, batchRows), make([]string, batchRows), make([]string, batchRows)
		for i, a := range batch {
			keys[i], digests[i], ops[i], contents[i] = a.Key, a.Digest.String(), string(a.Op), string(a.Payload)
			versions[i], _ = a.Version.Int64()
		}
		_, err := pool.Exec(b.Context(), `INSERT INTO `+name+` SELECT *, now() FROM unnest($1::text[], $2::bigint[], $3::int[], $4::text[], $5::text[], $6::jsonb[])
			ON CONFLICT (key) DO UPDATE SET version = excluded.version, version_nanos = excluded.version_nanos, digest = excluded.digest,
			op = excluded.op, content = excluded.content, updated_at = excluded.updated_at`, keys, versions, nanos, digests, ops, contents)
		return err
	}
}

func (d *target) mysqlFloor(b *testing.B, name string) func([]connectors.Attempt) error {
	db, err := sql.Open("mysql", d.adminAt+"?interpolateParams=true")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() }) // only measured with
	d.exec(b, "CREATE TABLE "+name+" LIKE "+table)
	text := "INSERT INTO " + name + " VALUES " + strings.TrimSuffix(strings.Repeat("(?, ?, ?, ?, ?, ?, NOW(6)),", batchRows), ",") +
		" ON DUPLICATE KEY UPDATE version = VALUES(version), version_nanos = VALUES(version_nanos), digest = VALUES(digest)," +
		" op = VALUES(op), content = VALUES(content), updated_at = VALUES(updated_at)"
	return func(batch []connectors.Attempt) error {
		var args []any
		for _, a := range batch {
			n, _ := a.Version.Int64()
			args = append(args, a.Key, n, -1, a.Digest.String(), string(a.Op), string(a.Payload))
		}
		_, err := db.ExecContext(b.Context(), text, args...)
		return err
	}
}

func (d *target) sqliteFloor(b *testing.B, name string) func([]connectors.Attempt) error {
	d.exec(b, "PRAGMA synchronous = full",
		`CREATE TABLE `+name+` (key TEXT PRIMARY KEY NOT NULL, version INTEGER, version_nanos INTEGER, digest TEXT, op TEXT, content TEXT, updated_at TEXT)`)
	return func(batch []connectors.Attempt) error {
		tx, err := d.admin.BeginTx(b.Context(), nil)
		if err != nil {
			return err
		}
		stmt, err := tx.PrepareContext(b.Context(), "INSERT OR REPLACE INTO "+name+" VALUES (?, ?, ?, ?, ?, ?, datetime())")
		if err != nil {
			return err
		}
		defer func() { _ = stmt.Close() }() // ends with the transaction
		for _, a := range batch {
			n, _ := a.Version.Int64()
			if _, err := stmt.ExecContext(b.Context(), a.Key, n, -1, a.Digest.String(), string(a.Op), string(a.Payload)); err != nil {
				return err
			}
		}
		return tx.Commit()
	}
}
