package connsql

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// An array is a parameter with one element for each row. The driver asks for
// them one by one as values of type any: as pointers, they take no memory.
type array[T any] []T

var _ pgtype.ArrayGetter = array[pgtype.Text](nil)

// Dimensions returns the one there is.
func (a array[T]) Dimensions() []pgtype.ArrayDimension {
	return []pgtype.ArrayDimension{{Length: int32(len(a)), LowerBound: 1}}
}

// Index returns the element at i, counted from 0.
func (a array[T]) Index(i int) any { return &a[i] }

// IndexType returns what Index returns.
func (a array[T]) IndexType() any { return new(T) }

// arrays returns the rows as one array for each column.
func (p *postgres) arrays(rows []row) []any {
	n := len(rows)
	versions, nanos := make(array[pgtype.Int8], n), make(array[pgtype.Int4], n)
	width := len(p.layout.keys)
	texts := make(array[pgtype.Text], n*(width+2+len(p.layout.values)))
	column := func(i int) array[pgtype.Text] { return texts[i*n : (i+1)*n] }
	digests, ops := column(width), column(width+1)
	var args []any
	for i := range width {
		args = append(args, column(i))
	}
	args = append(args, versions, nanos, digests, ops)
	for i := range p.layout.values {
		args = append(args, column(width+2+i))
	}
	all := hexDigests(rows)
	for i, r := range rows {
		version, ns := versionColumns(r.tag.Version)
		versions[i], nanos[i] = pgtype.Int8{Int64: version, Valid: true}, pgtype.Int4{Int32: ns, Valid: true}
		ops[i] = text(string(r.op))
		if width == 1 {
			texts[i] = text(r.key)
		} else {
			for j, part := range p.layout.split(r.key) {
				texts[j*n+i] = text(part)
			}
		}
		digests[i].Valid = true
		if !r.tag.Digest.IsZero() {
			digests[i].String, all = all[:hexDigest], all[hexDigest:]
		}
		for j, v := range r.values[:len(p.layout.values)] {
			texts[(width+2+j)*n+i] = postgresText(v)
		}
	}
	return args
}

// hexDigest is the length of a digest's text.
const hexDigest = 2 * len(versioning.Digest{})

// hexDigests returns the texts of all digests in a row, which takes one piece of
// memory for all of them. An unknown digest has none.
func hexDigests(rows []row) string {
	var all strings.Builder
	all.Grow(hexDigest * len(rows))
	var one [hexDigest]byte
	for _, r := range rows {
		all.Write(r.tag.Digest.AppendString(one[:0]))
	}
	return all.String()
}

func text(s string) pgtype.Text { return pgtype.Text{String: s, Valid: true} }

// postgresText returns the text form of a value, the zero Text for NULL.
func postgresText(v any) pgtype.Text {
	switch v := v.(type) {
	case nil:
		return pgtype.Text{}
	case string:
		return text(v)
	case []byte:
		return text(`\x` + hex.EncodeToString(v))
	case time.Time:
		return text(v.Format(time.RFC3339Nano))
	case float64:
		return text(strconv.FormatFloat(v, 'g', -1, 64))
	default: // int64, bool
		return text(fmt.Sprint(v))
	}
}
