package outbox_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/outbox"
)

// A transaction of pgx does what one of database/sql does, however its statements are sent:
// prepared or, as poolers want it, not.
func TestPgx(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]pgx.QueryExecMode{
		"prepared": pgx.QueryExecModeCacheStatement, "described": pgx.QueryExecModeCacheDescribe,
		"exec": pgx.QueryExecModeExec, "simple": pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, err := pgx.ParseConfig(testdb.Postgres(t))
			testkit.Must(t, err)
			cfg.DefaultQueryExecMode = mode
			conn, err := pgx.ConnectConfig(t.Context(), cfg)
			testkit.Must(t, err)
			t.Cleanup(func() { testkit.Must(t, conn.Close(context.WithoutCancel(t.Context()))) })
			ddl, err := outbox.DDL(outbox.Postgres)
			testkit.Must(t, err)
			_, err = conn.Exec(t.Context(), ddl, pgx.QueryExecModeSimpleProtocol) // several statements
			testkit.Must(t, err)
			for _, commit := range []bool{false, true} {
				tx, err := conn.Begin(t.Context())
				testkit.Must(t, err)
				v, err := outbox.Next(t.Context(), outbox.Pgx(tx), "a")
				testkit.Must(t, err)
				u := of("a", 1)
				u.Version, u.Payload = v, []byte(`{"text": "ü'\\"}`)
				testkit.Must(t, outbox.Put(t.Context(), outbox.Pgx(tx), u))
				if commit {
					testkit.Must(t, tx.Commit(t.Context()))
				} else {
					testkit.Must(t, tx.Rollback(t.Context()))
				}
			}
			var rows int
			var version string
			var payload []byte
			testkit.Must(t, conn.QueryRow(t.Context(), "SELECT count(*) OVER (), version, payload FROM extsync_outbox").Scan(&rows, &version, &payload))
			if rows != 1 || version != "1" || string(payload) != `{"text": "ü'\\"}` {
				t.Errorf("%d rows, version %s, payload %s", rows, version, payload)
			}
		})
	}
}
