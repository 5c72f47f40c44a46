package wire_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// DecodeDelivery reads of every record what DecodeRecord reads of it, and refuses what that
// refuses.
func FuzzDecodeDelivery(f *testing.F) {
	for _, key := range []string{"", "k", `a"b\c`, "<&>", "ä\u2028", "\xff", "\x7f\n"} {
		f.Add(key, "CVT7Q2K4WZ3M", "upsert", int64(7), int64(0), uint64(9), true)
		f.Add("k", key, key, int64(1), int64(1_704_110_400_120_000_000), uint64(0), false)
	}
	f.Fuzz(func(t *testing.T, key, id, op string, n, at int64, seq uint64, numbered bool) {
		r := wire.Record{Format: wire.Format, Key: key, ChannelID: id, LogPosition: wire.LogPosition{Incarnation: wire.Incarnation(seq), Seq: seq}, State: wire.StateSettled}
		v, err := versioning.Number(n)
		if !numbered {
			v, err = versioning.Time(time.Unix(0, n))
		}
		if err == nil {
			r.Applied = wire.Applied{Tag: versioning.Tag{Version: v, Digest: versioning.Sum(op, []byte(key))}, Op: events.Op(op), At: time.Unix(0, at).UTC()}
			r.Settled = r.Applied.Tag
		}
		data, err := r.Encode()
		if err != nil {
			t.Skip(err)
		}
		want, err := wire.DecodeRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.DecodeDelivery(data)
		if err != nil || got != want.Delivery() {
			t.Fatalf("%s\n%+v, want %+v, %v", data, got, want.Delivery(), err)
		}
		if _, err := wire.DecodeDelivery(data[:len(data)-1]); err == nil {
			t.Fatalf("a record that is cut off is taken: %s", data)
		}
	})
}

// A record that is written in another way is read all the same.
func TestDecodeDeliveryOfOtherForms(t *testing.T) {
	const applied = `"applied":{"version":"7","digest":"","at":"2024-01-01T12:00:00Z"}`
	want := wire.Delivery{Key: "k", ChannelID: "c", Applied: wire.Applied{Tag: versioning.Tag{Version: testkit.Version(t, "7")}, At: wiretest.Noon()}}
	for _, text := range []string{
		`{"f":1,"key":"k","incarnation":"0000000000000001","seq":1,"channel_id":"c",` + applied + `,"state":"settled"}`,
		` {"f":1,"key":"k","channel_id":"c",` + applied + "}\n",
		`{"channel_id":"c","key":"k",` + applied + `,"f":1}`,
		`{"f":1,"key":"\u006b","incarnation":"0000000000000001","seq":1,"channel_id":"c",` + applied + `,"state":"settled"}`,
		`{"f":1,"key":"k","incarnation":"0000000000000001","seq":1,"channel_id":"c","more":0,` + applied + `,"state":"settled"}`,
	} {
		if got, err := wire.DecodeDelivery([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	newer := strings.Replace(`{"f":1,"key":"k","incarnation":"0000000000000001","seq":1,`+applied+`,"state":"settled"}`, `"f":1`, `"f":2`, 1)
	if _, err := wire.DecodeDelivery([]byte(newer)); !errors.Is(err, events.ErrNewerFormat) {
		t.Errorf("a newer format: %v", err)
	}
	for _, text := range []string{"", "{", "{}x", `{"f":1,"key":"k","incarnation":"x","seq":`} {
		if _, err := wire.DecodeDelivery([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// An audit decodes each record of a channel: the key, the id and the version's text.
func TestDecodeDeliveryAllocatesLittle(t *testing.T) {
	r := wire.Record{Format: wire.Format, Key: "k", ChannelID: "CVT7Q2K4WZ3M", State: wire.StateSettled, Applied: wire.Applied{Tag: testkit.Tag(t, "7a"), Op: events.Upsert, At: wiretest.Noon()}}
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := wire.DecodeDelivery(data); err != nil {
			t.Error(err)
		}
	}); n > 3 {
		t.Errorf("%v allocations", n)
	}
}
