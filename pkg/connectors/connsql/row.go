package connsql

import (
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A row is what one attempt writes.
type row struct {
	index int // of the attempt in the call
	key   string
	// keys are the parts of the key as parameters, for the dialects whose plan has keys.
	keys []any
	tag  versioning.Tag
	op   events.Op
	// values are those of layout.values: nil for NULL, else a string or []byte
	// that is fit for the column's type.
	values []any
}

// A holding is what the table holds of one key. There is a row if there is true;
// its Tag is zero where that is not one that a connector has written.
type holding struct {
	connectors.Held
	there bool
	// unversioned: the row has no version, as one that was there before.
	unversioned bool
	// noted is what the table of versions says, if there is no row.
	noted versioning.Tag
	// key is that of the row, where the columns of the key take another one for the same.
	key string
	// form is what those columns make of the key that was asked for.
	form string
}

// numberMark is what version_nanos holds beside a version that is a number.
//
// A version takes two columns, so that both kinds compare exactly and with an
// index: a number is itself and -1; a time is its whole seconds since 1970 in
// UTC, and its nanoseconds, 0 to 999999999.
const numberMark = -1

// versionColumns returns what the two columns of a version hold.
func versionColumns(v versioning.Version) (version int64, nanos int32) {
	if t, ok := v.AsTime(); ok {
		return t.Unix(), int32(t.Nanosecond())
	}
	n, _ := v.Int64()
	return n, numberMark
}

// versionOf is the inverse of versionColumns. It fails for what versionColumns
// never returns.
func versionOf(version int64, nanos int32) (versioning.Version, error) {
	switch {
	case nanos == numberMark:
		return versioning.Number(version)
	case nanos < 0 || nanos >= int32(time.Second):
		return versioning.Version{}, versioning.ErrSyntax
	default:
		return versioning.Time(time.Unix(version, int64(nanos)))
	}
}

// held puts a holding together from the columns of a row, any of which may be
// NULL in a table that others write to.
func held(version *int64, nanos *int32, digest, op *string) holding {
	h := holding{there: true, unversioned: version == nil}
	if version == nil || nanos == nil {
		return h
	}
	v, err := versionOf(*version, *nanos)
	if err != nil {
		return h
	}
	h.Version = v
	if digest != nil {
		// What is no digest is not of our making: zero, which equals nothing.
		_ = h.Digest.UnmarshalText([]byte(*digest))
	}
	if op != nil {
		h.Op = events.Op(*op)
	}
	return h
}
