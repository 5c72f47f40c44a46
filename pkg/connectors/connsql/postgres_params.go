package connsql

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// A parameter is one column of the rows, as an array. It is written into the
// driver's message in the server's binary form: an array of the driver's own is
// asked for its elements one by one, and lets the message grow with each of them.
type parameter struct {
	rows   []row
	column int // in layout.columns
}

// The columns before the values, in the order of layout.guardColumns.
const (
	keyColumn = iota
	versionColumn
	nanosColumn
	digestColumn
	opColumn
	firstValue
)

// parameters returns the rows as one array for each column.
func (p *postgres) parameters(rows []row) []any {
	args := make([]any, firstValue+len(p.layout.values))
	for i := range args {
		args[i] = parameter{rows: rows, column: i}
	}
	return args
}

// takeParameters makes a connection take parameters for the arrays that the
// statements have.
func takeParameters(m *pgtype.Map) {
	for _, oid := range []uint32{pgtype.TextArrayOID, pgtype.Int8ArrayOID, pgtype.Int4ArrayOID} {
		if t, ok := m.TypeForOID(oid); ok {
			m.RegisterType(&pgtype.Type{Name: t.Name, OID: oid, Codec: parameterCodec{t.Codec}})
		}
	}
}

// A parameterCodec is the driver's codec of an array, which takes parameters too.
type parameterCodec struct{ pgtype.Codec }

// PlanEncode says how a value is written.
func (c parameterCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if _, ok := value.(parameter); ok && format == pgtype.BinaryFormatCode {
		return parameterPlan{}
	}
	return c.Codec.PlanEncode(m, oid, format, value)
}

type parameterPlan struct{}

// Encode appends a parameter in the form that array_recv of the server reads.
func (parameterPlan) Encode(value any, buf []byte) ([]byte, error) {
	p := value.(parameter)
	if p.column == keyColumn {
		buf = slices.Grow(buf, sizeOf(p.rows)) // the others follow in the same memory
	}
	start := len(buf)
	// Dimensions, whether an element is NULL, the elements' type, their number and
	// the index of the first.
	for _, n := range [...]uint32{1, 0, p.elementType(), uint32(len(p.rows)), 1} {
		buf = binary.BigEndian.AppendUint32(buf, n)
	}
	for i := range p.rows {
		buf = binary.BigEndian.AppendUint32(buf, math.MaxUint32) // the length of NULL
		before := len(buf)
		var there bool
		if buf, there = p.append(buf, &p.rows[i]); there {
			binary.BigEndian.PutUint32(buf[before-4:], uint32(len(buf)-before))
		} else {
			binary.BigEndian.PutUint32(buf[start+4:], 1)
		}
	}
	return buf, nil
}

func (p parameter) elementType() uint32 {
	switch p.column {
	case versionColumn:
		return pgtype.Int8OID
	case nanosColumn:
		return pgtype.Int4OID
	default:
		return pgtype.TextOID
	}
}

// append appends the element of one row. It reports false for NULL.
func (p parameter) append(buf []byte, r *row) ([]byte, bool) {
	switch p.column {
	case keyColumn:
		buf = append(buf, r.key...)
	case versionColumn:
		version, _ := versionColumns(r.tag.Version)
		buf = binary.BigEndian.AppendUint64(buf, uint64(version))
	case nanosColumn:
		_, nanos := versionColumns(r.tag.Version)
		buf = binary.BigEndian.AppendUint32(buf, uint32(nanos))
	case digestColumn:
		buf = r.tag.Digest.AppendString(buf)
	case opColumn:
		buf = append(buf, r.op...)
	default:
		return appendText(buf, r.values[p.column-firstValue])
	}
	return buf, true
}

// appendText appends the text form of a value. It reports false for NULL.
func appendText(buf []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case nil:
		return buf, false
	case string:
		buf = append(buf, v...)
	case []byte:
		buf = hex.AppendEncode(append(buf, `\x`...), v)
	case time.Time:
		buf = v.AppendFormat(buf, time.RFC3339Nano)
	case float64:
		buf = strconv.AppendFloat(buf, v, 'g', -1, 64)
	default: // int64, bool
		buf = fmt.Append(buf, v)
	}
	return buf, true
}

// hexDigest is the length of a digest's text.
const hexDigest = 2 * len(versioning.Digest{})

// sizeOf returns about how many bytes all parameters of the rows take.
func sizeOf(rows []row) int {
	const header, length = 5 * 4, 4
	size := firstValue * header
	for i := range rows {
		r := &rows[i]
		size += firstValue*length + len(r.key) + 8 + 4 + hexDigest + len(r.op)
		for _, v := range r.values {
			size += length
			switch v := v.(type) {
			case string:
				size += len(v)
			case []byte:
				size += len(`\x`) + hex.EncodedLen(len(v))
			}
		}
	}
	return size
}

// MarshalJSON writes the elements as a preview shows them.
func (p parameter) MarshalJSON() ([]byte, error) {
	list := make([]any, len(p.rows))
	for i := range p.rows {
		version, nanos := versionColumns(p.rows[i].tag.Version)
		switch p.column {
		case versionColumn:
			list[i] = version
		case nanosColumn:
			list[i] = nanos
		default:
			if text, there := p.append(nil, &p.rows[i]); there {
				list[i] = string(text)
			}
		}
	}
	return json.Marshal(list)
}
