package operate

import (
	"testing"

	"github.com/hms-utl/extsync/pkg/why"
)

func FuzzCursor(f *testing.F) {
	f.Add("s12", "behind")
	f.Add("l1", "ahead")
	f.Add("l1s7", "ahead")
	f.Add("ü", "behind")
	f.Fuzz(func(t *testing.T, cursor, sync string) {
		q := ListQuery{Sync: []why.Sync{why.Sync(sync)}, Cursor: cursor}
		part, from, _, err := q.begin()
		if err == nil && (from == 0 || part != streamPart && part != ledgerPart) {
			t.Errorf("part %q from %d", part, from)
		}
	})
}
