package faults_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connsql"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// What the real connector writes is in the history in order, what the guard
// refuses is not.
func TestSQLTargetKeepsEveryWrite(t *testing.T) {
	for name, make := range map[string]func(testing.TB) *faults.SQLTarget{
		"sqlite": faults.NewSQLiteTarget, "postgres": faults.NewPostgresTarget,
	} {
		t.Run(name, func(t *testing.T) {
			tg := make(t)
			config, err := json.Marshal(tg.Connector())
			if err != nil {
				t.Fatal(err)
			}
			conn, err := connsql.Kind().Open(t.Context(), connectortest.Env(nil), config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := conn.Close(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
			}()
			at := versioning.Must(versioning.Parse("2024-05-01T12:00:00.000000001Z"))
			apply := func(key string, v versioning.Version, op events.Op, want connectors.Class) versioning.Tag {
				u := events.Update{Channel: "c", Key: key, Version: v, Op: op, Payload: []byte(`{"a":1}`)}.WithDefaults()
				res := conn.Apply(t.Context(), []connectors.Attempt{{Update: u, Digest: u.Digest(), Number: 1}})
				if res[0].Class != want {
					t.Fatalf("%s of %s: %+v", v, key, res[0])
				}
				return u.Tag()
			}
			apply("a", tag(2).Version, events.Upsert, connectors.OK)
			apply("a", tag(1).Version, events.Upsert, connectors.Stale)
			last := apply("a", tag(3).Version, events.Delete, connectors.OK)
			timed := apply("b", at, events.Upsert, connectors.OK)
			h, err := tg.History(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(h.Writes) != 3 || h.Writes[0].Version != tag(2).Version || h.Writes[1].Tag != last || h.Writes[1].Op != events.Delete || h.Writes[2].Tag != timed {
				t.Errorf("writes %+v", h.Writes)
			}
			if len(h.Held) != 2 || h.Held["a"] != last || h.Held["b"] != timed || h.Calls != nil {
				t.Errorf("held %+v, calls %+v", h.Held, h.Calls)
			}
		})
	}
}
