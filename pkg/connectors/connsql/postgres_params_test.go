package connsql

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// What a parameter says is what the driver would say of an array of its own.
func TestParametersAreArrays(t *testing.T) {
	then := time.Date(1960, 3, 1, 1, 2, 3, 456, time.UTC)
	digest := versioning.Digest{1, 2, 0xfe}
	rows := []row{
		{key: "a", tag: versioning.Tag{Version: versioning.Must(versioning.Number(math.MaxInt64)), Digest: digest}, op: events.Upsert, values: []any{`{"a":1}`, []byte{0, 255}}},
		{key: "", tag: versioning.Tag{Version: versioning.Must(versioning.Time(then))}, op: events.Delete, values: []any{nil, 0.1}},
		{key: "ü", tag: versioning.Tag{Version: versioning.Must(versioning.Number(1))}, op: events.Upsert, values: []any{"", then}},
		{key: "z", tag: versioning.Tag{Version: versioning.Must(versioning.Number(1))}, op: events.Upsert, values: []any{int64(-5), true}},
	}
	texts := func(list ...any) []pgtype.Text {
		var out []pgtype.Text
		for _, v := range list {
			s, there := v.(string)
			out = append(out, pgtype.Text{String: s, Valid: there})
		}
		return out
	}
	own := []struct {
		oid   uint32
		array any
	}{
		{pgtype.TextArrayOID, texts("a", "", "ü", "z")},
		{pgtype.Int8ArrayOID, []int64{math.MaxInt64, then.Unix(), 1, 1}},
		{pgtype.Int4ArrayOID, []int32{-1, 456, -1, -1}},
		{pgtype.TextArrayOID, texts(digest.String(), "", "", "")},
		{pgtype.TextArrayOID, texts("upsert", "delete", "upsert", "upsert")},
		{pgtype.TextArrayOID, texts(`{"a":1}`, nil, "", "-5")},
		{pgtype.TextArrayOID, texts(`\x00ff`, "0.1", then.Format(time.RFC3339Nano), "true")},
	}
	m := pgtype.NewMap()
	takeParameters(m)
	p := &postgres{layout: layout{values: make([]column, 2)}}
	args := p.parameters(rows)
	if len(args) != len(own) {
		t.Fatalf("%d parameters, want %d", len(args), len(own))
	}
	for i, c := range own {
		got, err := m.Encode(c.oid, pgtype.BinaryFormatCode, args[i], []byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		want, err := m.Encode(c.oid, pgtype.BinaryFormatCode, c.array, []byte("before"))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("parameter %d: %q, want %q, %v", i+1, got, want, err)
		}
	}
}
