package connsql_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const deleting = "mode: table\ntable: p\non_delete: delete\nauto_create: true\ncolumns: [{name: a}]\n"

// A deleted row is gone, and an older update that comes late does not bring it back.
func TestRowsAreRemoved(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		c := d.openHere(t, deleting)
		for _, res := range apply(t, c, attempt("k", 1, `{"a":"x"}`), attempt("l", 1, `{"a":"y"}`), attempt("never", 3, "")) {
			want(t, res, connectors.OK, "")
		}
		for _, res := range apply(t, c, attempt("k", 3, ""), attempt("l", 2, `{"a":"z"}`)) {
			want(t, res, connectors.OK, "")
		}
		if n := d.count(t, "SELECT count(*) FROM p"); n != 1 {
			t.Errorf("%d rows are there, want 1", n)
		}
		late := apply(t, c, attempt("k", 2, `{"a":"late"}`), attempt("never", 2, `{"a":"late"}`), attempt("l", 1, ""), attempt("m", 1, `{"a":"m"}`))
		for _, res := range late[:3] {
			want(t, res, connectors.Stale, "stale")
		}
		want(t, late[3], connectors.OK, "")
		want(t, apply(t, c, attempt("k", 3, ""))[0], connectors.OK, "") // once more
		want(t, apply(t, c, attempt("k", 3, `{"a":"other"}`))[0], connectors.Conflict, "conflict")
		held, err := c.(connectors.Reader).Read(t.Context(), []string{"k", "l", "none"})
		if err != nil || held[0].Version.String() != "3" || held[0].Op != "delete" || held[1].Version.String() != "2" || !held[2].IsZero() {
			t.Errorf("Read gave %+v, %v", held, err)
		}
		if n := d.count(t, "SELECT count(*) FROM p"); n != 2 {
			t.Errorf("%d rows are there, want l and m", n)
		}
		want(t, apply(t, c, attempt("k", 4, `{"a":"back"}`))[0], connectors.OK, "")
		if n := d.count(t, "SELECT count(*) FROM p WHERE a = 'back' AND version = 4"); n != 1 {
			t.Error("a newer update does not bring the row back")
		}
		if err := c.(connectors.Prober).Probe(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A filter that has become narrower removes the very version that it let through before. The
// row stayed, and the table of versions said that it was deleted.
func TestRowOfTheRemovedVersionIsRemoved(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		c := d.openHere(t, deleting)
		a, other := attempt("k", 1, `{"a":"x"}`), attempt("l", 1, `{"a":"y"}`)
		for _, res := range apply(t, c, a, other) {
			want(t, res, connectors.OK, "")
		}
		for _, one := range []*connectors.Attempt{&a, &other} {
			one.Op, one.Payload, one.Again = events.Delete, nil, true
		}
		other.Digest = versioning.Sum("upsert", []byte("another content"))
		results := apply(t, c, a, other)
		want(t, results[0], connectors.OK, "")
		want(t, results[1], connectors.Conflict, "conflict")
		if n := d.count(t, "SELECT count(*) FROM p"); n != 1 {
			t.Errorf("%d rows are there, want that of l", n)
		}
		a = attempt("k", 1, `{"a":"x"}`)
		a.Again = true // the filter is as it was
		want(t, apply(t, c, a)[0], connectors.OK, "")
		if n := d.count(t, "SELECT count(*) FROM p WHERE a = 'x'"); n != 1 {
			t.Error("the row does not come back")
		}
	})
}

// Writers that know nothing of each other send versions of a few keys, every third of them a
// delete. What the newest version says is there in the end.
func TestRacingDeletes(t *testing.T) {
	const writers, keys, versions = 8, 4, 60
	everywhere(t, func(t *testing.T, d *target) {
		want(t, apply(t, d.openHere(t, deleting), attempt("made", 1, `{}`))[0], connectors.OK, "")
		var all sync.WaitGroup
		for writer := range writers {
			c := d.openHere(t, deleting)
			all.Go(func() {
				for v := int64(1 + writer); v <= versions; v += writers {
					var batch []connectors.Attempt
					for k := range keys {
						payload := fmt.Sprintf(`{"a":"%d"}`, v)
						if (v+int64(k))%3 == 0 {
							payload = ""
						}
						batch = append(batch, attempt(fmt.Sprintf("k%d", k), v, payload))
					}
					for tries := 0; len(batch) > 0 && tries < 100; tries++ {
						var again []connectors.Attempt
						for i, res := range apply(t, c, batch...) {
							switch res.Class {
							case connectors.OK, connectors.Stale:
							case connectors.Transient: // a deadlock, or a file that is locked
								again = append(again, batch[i])
							default:
								t.Errorf("class %s: %v", res.Class, res.Err)
							}
						}
						batch = again
					}
				}
			})
		}
		all.Wait()
		for k := range keys {
			wanted := 1
			if (versions+k)%3 == 0 {
				wanted = 0
			}
			if n := d.count(t, fmt.Sprintf("SELECT count(*) FROM p WHERE %s = 'k%d'", d.quote("key"), k)); n != wanted {
				t.Errorf("k%d has %d rows, want %d", k, n, wanted)
			}
			if n := d.count(t, fmt.Sprintf("SELECT count(*) FROM p WHERE %s = 'k%d' AND version <> %d", d.quote("key"), k, versions)); n != 0 {
				t.Errorf("k%d is not of the newest version", k)
			}
		}
	})
}

// A column that must not be NULL is no obstacle where rows are removed.
func TestRemovedRowsOfATableOfOnesOwn(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		key := map[string]string{"postgres": `"key" int`, "mysql": "`key` int", "sqlite": `"key" INTEGER`}[d.dialect]
		d.make(t, "p", key+" PRIMARY KEY, a varchar(10) NOT NULL")
		c := d.openHere(t, strings.Replace(deleting, "auto_create: true\n", "", 1))
		res := apply(t, c, attempt("1", 1, `{"a":"x"}`))[0]
		if want(t, res, connectors.Misconfigured, ""); !strings.Contains(res.Err.Error(), "p_versions") {
			t.Errorf("%v does not show what to run", res.Err)
		}
		clears := d.openHere(t, "mode: table\ntable: p\ncolumns: [{name: a}]\n")
		cleared := apply(t, clears, attempt("9", 1, ""))[0]
		if want(t, cleared, connectors.Permanent, ""); cleared.Err == nil || !strings.Contains(cleared.Err.Error(), "on_delete: delete") {
			t.Errorf("%v does not say what to set", cleared.Err)
		}
		c = d.openHere(t, deleting)
		for _, res := range apply(t, c, attempt("1", 1, `{"a":"x"}`), attempt("2", 1, `{"a":"x"}`)) {
			want(t, res, connectors.OK, "")
		}
		for _, res := range apply(t, c, attempt("1", 2, ""), attempt("01", 5, "")) {
			if res.Class != connectors.OK && res.Class != connectors.Permanent {
				t.Errorf("class %s: %v", res.Class, res.Err)
			}
		}
		if n := d.count(t, "SELECT count(*) FROM p"); n != 1 {
			t.Errorf("%d rows are there, want 1", n)
		}
	})
}

// Rows that were there before are conflicts, or taken over.
func TestRowsThatWereThereBefore(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		for _, onDelete := range []string{"clear", "delete"} {
			key := map[string]string{"postgres": `"key" text`, "mysql": "`key` varchar(100)", "sqlite": `"key" TEXT`}[d.dialect]
			d.make(t, "old", key+" PRIMARY KEY, a varchar(10)")
			for _, k := range []string{"written", "deleted", "left"} {
				d.exec(t, fmt.Sprintf("INSERT INTO old (%s, a) VALUES ('%s', 'before')", d.quote("key"), k))
			}
			config := "mode: table\ntable: old\nauto_create: true\ncolumns: [{name: a}]\non_delete: " + onDelete + "\n"
			c := d.openHere(t, config)
			for _, res := range apply(t, c, attempt("written", 1, `{"a":"x"}`), attempt("deleted", 1, "")) {
				if want(t, res, connectors.Conflict, "foreign"); res.Err == nil || !strings.Contains(res.Err.Error(), "adopt: true") {
					t.Errorf("%v does not say what to set", res.Err)
				}
			}
			if n := d.count(t, "SELECT count(*) FROM old WHERE a = 'before'"); n != 3 {
				t.Errorf("%d rows are as they were, want 3", n)
			}
			c = d.openHere(t, config+"adopt: true\n")
			for _, res := range apply(t, c, attempt("written", 2, `{"a":"x"}`), attempt("deleted", 2, ""), attempt("new", 2, `{"a":"x"}`)) {
				want(t, res, connectors.OK, "")
			}
			want(t, apply(t, c, attempt("written", 1, `{"a":"late"}`))[0], connectors.Stale, "")
			if n := d.count(t, "SELECT count(*) FROM old WHERE a = 'x' AND version = 2"); n != 2 {
				t.Errorf("%d rows were written, want 2", n)
			}
			if n := d.count(t, "SELECT count(*) FROM old WHERE a = 'before' AND version IS NULL"); n != 1 {
				t.Errorf("%d rows are as they were, want 1", n)
			}
			d.exec(t, "DROP TABLE old", "DROP TABLE IF EXISTS old_versions")
		}
	})
}

// A key may be in more than one column.
func TestKeysInColumns(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		for _, onDelete := range []string{"clear", "delete"} {
			d.make(t, "parts", "tenant varchar(20), id int, a varchar(10), PRIMARY KEY (tenant, id)")
			c := d.openHere(t, "mode: table\ntable: parts\nkey_columns: [tenant, id]\nauto_create: true\ncolumns: [{name: a}]\non_delete: "+onDelete+"\n")
			for _, res := range apply(t, c, attempt("north/1", 1, `{"a":"x"}`), attempt("north/2", 1, `{"a":"x"}`), attempt("south/1", 1, `{"a":"x"}`)) {
				want(t, res, connectors.OK, "")
			}
			results := apply(t, c, attempt("north/2", 2, ""), attempt("north", 1, `{"a":"y"}`), attempt("north/01", 2, `{"a":"y"}`), attempt("south/1", 2, `{"a":"y"}`))
			want(t, results[0], connectors.OK, "")
			want(t, results[1], connectors.Permanent, "")
			want(t, results[2], connectors.Permanent, "")
			want(t, results[3], connectors.OK, "")
			if n := d.count(t, "SELECT count(*) FROM parts WHERE tenant = 'south' AND id = 1 AND a = 'y' OR tenant = 'north' AND id = 1 AND a = 'x'"); n != 2 {
				t.Errorf("%d rows are right, want 2", n)
			}
			held, err := c.(connectors.Reader).Read(t.Context(), []string{"south/1", "north/2", "west/1", "north"})
			if err != nil || held[0].Version.String() != "2" || held[1].Op != "delete" || !held[2].IsZero() || !held[3].IsZero() {
				t.Errorf("Read gave %+v, %v", held, err)
			}
			first, err := c.(connectors.Lister).List(t.Context(), "", 1)
			if err != nil || len(first) != 1 || first[0] != "north/1" {
				t.Fatalf("List gave %q, %v", first, err)
			}
			if rest, err := c.(connectors.Lister).List(t.Context(), first[0], 9); err != nil || rest[len(rest)-1] != "south/1" {
				t.Errorf("List gave %q, %v", rest, err)
			}
			want(t, apply(t, c, attempt("south/1", 2, `{"a":"z"}`))[0], connectors.Conflict, "conflict")
			d.exec(t, "DROP TABLE parts", "DROP TABLE IF EXISTS parts_versions")
		}
	})
}
