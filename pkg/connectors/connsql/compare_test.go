package connsql_test

import (
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A comparison sees the table as it is, also where it was dropped, made anew or altered since
// the comparison before.
func TestCompareFollowsTheTable(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		conn := d.openHere(t, "auto_create: true\nmode: table\ntable: f\ncolumns: [{name: a}]\n")
		a, b := attempt("a", 1, `{"a":"x"}`), attempt("b", 1, `{"a":"y"}`)
		there := func(when string, want ...connectors.Attempt) {
			t.Helper()
			got := compare(t, conn, a, b)
			for i, x := range []connectors.Attempt{a, b} {
				held := i < len(want)
				if held != (got[i].Tag == x.Tag()) || !held && !got[i].IsZero() || len(got[i].Changed) > 0 {
					t.Errorf("%s: %s: %+v", when, x.Key, got[i])
				}
			}
		}
		write := func(attempts ...connectors.Attempt) {
			t.Helper()
			for _, res := range apply(t, conn, attempts...) {
				want(t, res, connectors.OK, "")
			}
		}
		there("no table")
		write(a, b)
		there("delivered", a, b)
		d.exec(t, "ALTER TABLE f ADD extra varchar(5)")
		there("with a column more", a, b)
		d.exec(t, "DROP TABLE f")
		there("dropped")
		write(a)
		there("made anew", a)
	})
}
