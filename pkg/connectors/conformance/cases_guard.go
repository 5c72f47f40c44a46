package conformance

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/guardrace"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// raced: what operators run at their own target as "channels test --guard".
func raced(r *run) {
	if !r.Guarded {
		r.NotApplicable("it does not refuse older versions when writers meet (Guarded)")
		return
	}
	key := guardrace.KeyPrefix + r.prefix
	race := guardrace.Race{
		First: number(1), Timeout: Timeout,
		Attempt: func(v versioning.Version, op events.Op) connectors.Attempt {
			if op == events.Delete {
				return r.remove(key, v)
			}
			return r.upsert(key, v, "raced")
		},
	}
	if r.Read != nil {
		race.Read = func(context.Context) (connectors.Held, error) { return r.holds(key)[key], nil }
	}
	for i := range race.Writers {
		c := r.open()
		race.Writers[i], race.Guard = c, c.Can().Guard
	}
	report, err := race.Run(r.Context())
	if err != nil {
		r.Errorf("the race of the guard: %v", err)
	}
	if report.Left != "" {
		r.Errorf("the key of the race is still there: %s", report.Left)
	}
	for _, v := range report.Violations {
		r.Errorf("round %d: the target %s", v.Round, v)
	}
}
