package connsql_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

func TestListGivesEachKeyOnce(t *testing.T) {
	everywhere(t, func(t *testing.T, d *target) {
		for _, mode := range []string{"document", "append"} {
			c := d.openHere(t, "auto_create: true\nmode: "+mode+"\ntable: list_"+mode+"\n")
			lister := c.(connectors.Lister)
			if keys, err := lister.List(t.Context(), "", 3); err != nil || len(keys) != 0 {
				t.Errorf("%s: before the table is there: %q, %v", mode, keys, err)
			}
			wanted := []string{"'quoted'", "A", "a", "ä"}
			for i := range 4 {
				wanted = append(wanted, fmt.Sprintf("k%d", i))
			}
			for version := range int64(2) {
				for _, key := range wanted {
					want(t, apply(t, c, attempt(key, version+1, `{}`))[0], connectors.OK, "")
				}
			}
			var listed []string
			for after := ""; ; after = listed[len(listed)-1] {
				keys, err := lister.List(t.Context(), after, 3)
				if err != nil {
					t.Fatal(err)
				}
				listed = append(listed, keys...)
				if len(keys) < 3 {
					break
				}
			}
			slices.Sort(listed)
			slices.Sort(wanted)
			if !slices.Equal(listed, wanted) {
				t.Errorf("%s: listed %q, want %q", mode, listed, wanted)
			}
		}
	})
}
