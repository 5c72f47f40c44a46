package connsql

import (
	"slices"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A notedWrite is a transaction that writes where deletes remove rows.
type notedWrite struct {
	// note writes the versions that the guard lets through into the table of versions, and
	// locks those of all rows until the end of the transaction; noted reads that table.
	note  func(rows []row) error
	noted func(rows []row) ([]holding, error)
	// there returns what is in the place of rows, and locks it. remove removes it.
	there  func(rows []row) ([]holding, error)
	remove func(rows []row) error
	// store writes rows under the guard of their own table.
	store func(rows []row) error
}

// run does to the rows what was noted.
func (l layout) run(rows []row, w notedWrite) error {
	if err := w.note(rows); err != nil {
		return err
	}
	noted, err := w.noted(rows)
	if err != nil {
		return err
	}
	var gone, live []row
	for i, r := range rows {
		switch {
		case noted[i].Tag != r.tag:
		case r.op == events.Delete:
			gone = append(gone, r)
		default:
			live = append(live, r)
		}
	}
	if len(gone) > 0 {
		there, err := w.there(gone)
		if err != nil {
			return err
		}
		i := -1
		gone = slices.DeleteFunc(gone, func(r row) bool {
			i++
			return !l.mayRemove(there[i], r)
		})
	}
	if len(gone) > 0 {
		if err := w.remove(gone); err != nil {
			return err
		}
	}
	if len(live) > 0 {
		return w.store(live)
	}
	return nil
}

// mayRemove reports whether a delete removes what is in its place: an older row of its key, or
// that of its very version and content, which the channel's filter has let through before.
func (l layout) mayRemove(there holding, r row) bool {
	if !there.there || there.key != r.key {
		return false
	}
	if there.unversioned {
		return l.adopt
	}
	verdict, err := versioning.Guard(there.Tag, r.tag, versioning.Version{})
	return err == nil && (verdict == versioning.Newer || verdict == versioning.Duplicate)
}

// noteRows are the rows as the table of versions has them.
func noteRows(rows []row) []row {
	out := slices.Clone(rows)
	for i := range out {
		out[i].keys, out[i].values = []any{out[i].key}, nil
	}
	return out
}
