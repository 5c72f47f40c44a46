//go:build !race

package connsql_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The race detector changes what is allocated; this file is left out there.

// What one batch allocates, the driver's part of it included. One allocation more
// for each row is far above what differs from run to run. A new version of a
// driver may change the figures.
func TestAllocationsOfABatch(t *testing.T) {
	const rows, differs = 500, 100
	for name, c := range map[string]struct {
		open func(testing.TB) *target
		most float64
	}{
		"postgres": {postgresTarget, 1057},
		"mysql":    {mariadbTarget, 4098},
		"sqlite":   {sqliteTarget, 4239},
	} {
		t.Run(name, func(t *testing.T) {
			conn := c.open(t).openHere(t, "auto_create: true\n")
			for range 2 { // which makes the table, then reads what it is
				want(t, apply(t, conn, attempt("made", 1, `{}`))[0], connectors.OK, "")
			}
			batch := make([]connectors.Attempt, rows)
			for i := range batch {
				batch[i] = attempt(fmt.Sprintf("entity-%07d", i), 1, `{"text":"`+strings.Repeat("x", 289)+`"}`)
			}
			version := int64(1)
			got := testing.AllocsPerRun(5, func() {
				version++ // each run changes every row
				for i := range batch {
					batch[i].Version = versioning.Must(versioning.Number(version))
				}
				for _, res := range conn.Apply(t.Context(), batch) {
					if res.Class != connectors.OK {
						t.Error(res.Err)
					}
				}
			})
			if got > c.most+differs {
				t.Errorf("%v allocations for %d rows, it was %v", got, rows, c.most)
			}
		})
	}
}
