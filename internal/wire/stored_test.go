package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func indent(t *testing.T, v any) string {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "\n"
}

func TestStoredFormsGolden(t *testing.T) {
	delivered := wiretest.Entry(t, "9007199254740993a", events.Delivered)
	delivered.At = wiretest.Noon()
	delivered.Attempts, delivered.ReplyTo, delivered.Response, delivered.Sequence = 2, "_INBOX.a.b", "HTTP 200", 41
	superseded := wiretest.Entry(t, "6a", events.Superseded)
	superseded.By = testkit.Version(t, "7")
	conflict := wiretest.Entry(t, "7b", events.Conflict)
	conflict.Class, conflict.Code, conflict.Message, conflict.Held = "conflict", "409", "the target holds other content", testkit.Version(t, "7")
	conflict.Response = `{"title":"locked by hand"}`
	retrying := wiretest.Entry(t, "8a", wire.Retrying)
	retrying.Response = "try later"
	delivered.Refs = events.Refs{"id": "4711", "etag": `"a\b"`}
	malformed := wire.Entry{Key: "k", Settlement: events.Settlement{
		Outcome: events.DeadLettered, Class: "permanent", Code: "malformed", Message: "ce-entityversion: it is missing", At: wiretest.Noon(),
	}}
	group := wire.Group{
		Format: wire.Format, Channel: "erp_db", ChannelID: "CVT7Q2K4WZ3M", Partition: 3, Epoch: 17, Number: 2, Worker: "w-1", At: wiretest.Noon(), Content: 2166136261,
		Entries: []wire.Entry{delivered, superseded, conflict, retrying, malformed},
	}
	var failing, settled wire.Record
	for i, e := range []wire.Entry{superseded, conflict, retrying} {
		failing.Add(e, wiretest.Place(uint64(i+1)))
	}
	settled.ChannelID = "CVT7Q2K4WZ3M"
	delivered.Content = group.Content
	settled.Add(delivered, wiretest.Place(9))
	reset := settled
	reset.Add(wire.Entry{Key: "k", Settlement: events.Settlement{Outcome: wire.Reset, At: wiretest.Noon()}, Void: &wire.Void{
		Updates: wire.Mark{Sequence: 41, Stored: wiretest.Noon()}, Letters: wire.Mark{Sequence: 2, Stored: wiretest.Noon()}, At: wiretest.Noon(),
	}}, wiretest.Place(10))
	for name, v := range map[string]any{
		"group":           group,
		"group_ownership": wire.Group{Format: wire.Format, Channel: "erp_db", ChannelID: "CVT7Q2K4WZ3M", Epoch: 18, Worker: "w-2", At: wiretest.Noon()},
		"ack_delivered":   wire.NewAck("erp_db", "k", delivered.Settlement),
		"ack_superseded":  wire.NewAck("erp_db", "k", superseded.Settlement),
		"record_failing":  failing,
		"record_reset":    reset,
		"record_settled":  settled,
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, indent(t, v)) })
	}
}

func TestFinal(t *testing.T) {
	for outcome, want := range map[events.Outcome]bool{
		events.Delivered: true, events.Superseded: true, events.Conflict: true, events.DeadLettered: true,
		wire.Retrying: false, "": false, "lost": false,
	} {
		if wire.Final(outcome) != want {
			t.Errorf("%q: %t", outcome, !want)
		}
	}
}

func TestFormats(t *testing.T) {
	decoders := map[string]func([]byte) error{
		"ack":    func(b []byte) error { _, err := publish.DecodeAck(b); return err },
		"group":  func(b []byte) error { _, err := wire.DecodeGroup(b); return err },
		"record": func(b []byte) error { _, err := wire.DecodeRecord(b); return err },
	}
	for kind, decode := range decoders {
		t.Run(kind, func(t *testing.T) {
			if err := decode([]byte(`{"f":1,"added_by_a_later_release":{}}`)); err != nil {
				t.Errorf("an added field is refused: %v", err)
			}
			if err := decode([]byte(`{"f":2}`)); !errors.Is(err, events.ErrNewerFormat) {
				t.Errorf("a newer format: %v, want ErrNewerFormat", err)
			}
			for _, bad := range []string{``, `{}`, `{"f":0}`, `{"f":-1}`, `{"f":"1"}`, `[]`, `null`, `{"f":1`} {
				err := decode([]byte(bad))
				if err == nil || errors.Is(err, events.ErrNewerFormat) {
					t.Errorf("%q: %v", bad, err)
				}
			}
		})
	}
}

// fuzzStored checks that what can be read can be written, and is then read the
// same.
func fuzzStored[T any](f *testing.F, decode func([]byte) (T, error), encode func(T) ([]byte, error)) {
	f.Helper()
	for _, s := range []string{
		`{"f":1}`, `{"f":2}`, `{}`, `null`, `{"f":1,"key":"k","version":"7","outcome":"delivered","at":"2024-01-01T00:00:00.5+01:00"}`,
		`{"f":1,"entries":[{"key":"k","version":9007199254740993,"digest":"","next_attempt":"2024-01-01T00:00:00Z"}]}`,
		`{"f":1,"key":"k","seq":18446744073709551615,"applied":{"version":"7","at":"0001-01-01T00:00:00Z"},"recent":[{}],"error":{}}`,
		`{"f":1,"at":"9999-12-31T23:59:59-23:59"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := decode(data)
		if err != nil {
			return
		}
		first, err := encode(v)
		if err != nil {
			t.Fatalf("%s was read but cannot be written: %v", data, err)
		}
		again, err := decode(first)
		if err != nil {
			t.Fatalf("%s was written but cannot be read: %v", first, err)
		}
		second, err := encode(again)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, second) {
			t.Fatalf("%s became %s", first, second)
		}
	})
}

func FuzzDecodeAck(f *testing.F) {
	fuzzStored(f, publish.DecodeAck, func(a events.Ack) ([]byte, error) { return encoded(ack{a}) })
}

func FuzzDecodeGroup(f *testing.F) {
	fuzzStored(f, wire.DecodeGroup, func(g wire.Group) ([]byte, error) { return encoded(&g) })
}

func FuzzDecodeRecord(f *testing.F) {
	fuzzStored(f, wire.DecodeRecord, func(r wire.Record) ([]byte, error) { return encoded(&r) })
}

// An ack has its encoder as a method, as what is stored has.
type ack struct{ events.Ack }

func (a ack) Append(out []byte) ([]byte, error) { return wire.AppendAck(out, a.Ack) }

// encoded returns what a value's own encoder makes of it, which is what
// encoding/json makes of it.
func encoded(v interface{ Append([]byte) ([]byte, error) }) ([]byte, error) {
	got, err := v.Append([]byte("before"))
	if err != nil {
		return nil, err
	}
	want, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if got = bytes.TrimPrefix(got, []byte("before")); !bytes.Equal(got, want) {
		return nil, fmt.Errorf("encoded as\n%s\ninstead of\n%s", got, want)
	}
	return got, nil
}

// TestEncodersMatchTheirTags: every field, zero and not, and every kind of text.
func TestEncodersMatchTheirTags(t *testing.T) {
	at := time.Date(2024, 1, 1, 12, 0, 0, 120_000_000, time.UTC)
	for _, text := range []string{"", "plain", "<a> & b", "\"q\\", "ä\u2028", "\xff", "\x00\n\x7f"} {
		for _, v := range []string{"7", "2024-01-01T00:00:00.5Z"} {
			tag := versioning.Tag{Version: testkit.Version(t, v), Digest: testkit.Tag(t, "1a").Digest}
			s := events.Settlement{
				Version: tag.Version, Digest: tag.Digest, ID: text, Outcome: events.Outcome(text), Attempts: 3, By: tag.Version,
				Class: text, Code: text, Message: text, At: at, Response: text,
			}
			bare := events.Settlement{Version: tag.Version}
			e := wire.Entry{
				Key: text, Op: events.Op(text), Settlement: s, NextAttempt: at, TryingMS: 5, ReplyTo: text, ReplyLines: true, Held: tag.Version, Sequence: 1 << 63,
				Void: &wire.Void{Letters: wire.Mark{Stored: at}},
			}
			for _, v := range []interface{ Append([]byte) ([]byte, error) }{
				&wire.Group{},
				ack{},
				&wire.Record{},
				ack{wire.NewAck("c", text, s)},
				&wire.Group{Format: 1, Channel: text, ChannelID: text, Partition: 2, Epoch: 3, Number: 4, Worker: text, At: at, Content: 1<<32 - 1, Entries: []wire.Entry{e, {Settlement: bare}}},
				&wire.Record{
					Format: 1, Key: text, LogPosition: wire.LogPosition{Incarnation: 1 << 63, Seq: 1 << 63}, ChannelID: text, Sequence: 7, Former: 8,
					Void: &wire.Void{Updates: wire.Mark{Sequence: 8, Stored: at}, At: at}, Applied: wire.Applied{Tag: tag, Op: events.Op(text), At: at}, Content: 6, Settled: tag,
					Recent: []events.Settlement{s, bare}, State: wire.StateParked, Pending: tag, Attempts: 2, NextAttempt: at,
					Error: &events.Failure{Class: text, Code: text, Message: text, Response: text}, TryingMS: 9,
				},
				&wire.Record{Applied: wire.Applied{Tag: versioning.Tag{Version: tag.Version}}, Error: &events.Failure{}},
			} {
				if _, err := encoded(v); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if _, err := wire.AppendAck(nil, events.Ack{Settlement: events.Settlement{At: at.AddDate(9000, 0, 0)}}); err == nil {
		t.Error("a year of five digits was written")
	}
}

// What an encoder remembers of the entry before is that of no other: digests, times and
// the zones of times that are the same moment.
func TestGroupOfUnlikeEntries(t *testing.T) {
	at := time.Date(2024, 1, 1, 12, 0, 0, 120_000_000, time.UTC)
	east := time.FixedZone("east", 3600)
	var g wire.Group
	for i, at := range []time.Time{at, at, at.In(east), at.Add(1), {}, at} {
		for _, digest := range []versioning.Digest{{}, testkit.Tag(t, "1a").Digest, testkit.Tag(t, "1a").Digest, testkit.Tag(t, "1b").Digest, {}} {
			s := events.Settlement{Version: testkit.Version(t, "7"), Digest: digest, Outcome: events.Delivered, At: at}
			g.Entries = append(g.Entries, wire.Entry{Key: fmt.Sprint("k", i), Settlement: s, NextAttempt: at.Add(time.Second)})
		}
	}
	if _, err := encoded(&g); err != nil {
		t.Error(err)
	}
	for i := range g.Entries {
		e := &g.Entries[i]
		r := wire.Record{Applied: wire.Applied{Tag: versioning.Tag{Version: e.Version, Digest: e.Digest}, At: e.At}, Recent: []events.Settlement{e.Settlement}}
		if _, err := encoded(&r); err != nil {
			t.Error(err)
		}
	}
}

// The ack of an entry is the same whether its group was encoded before or not.
func TestAckOfAnEntry(t *testing.T) {
	settled := wiretest.Entry(t, "1a", events.Delivered)
	want, err := json.Marshal(wire.NewAck("erp", settled.Key, settled.Settlement))
	if err != nil {
		t.Fatal(err)
	}
	group := wire.Group{Entries: []wire.Entry{wiretest.Entry(t, "2b", events.Superseded), settled}}
	if _, err := group.Append(make([]byte, 0, 4)); err != nil { // its memory moves as it grows
		t.Fatal(err)
	}
	for name, e := range map[string]*wire.Entry{"alone": &settled, "of a group": &group.Entries[1]} {
		got, err := e.AppendAck([]byte("before"), "erp", "")
		if err != nil || string(got) != "before"+string(want) {
			t.Errorf("%s: %s, %v; want %s", name, got, err, want)
		}
	}
}

// An ack that travels keeps every part of the version and of the time.
func TestAckRoundTrip(t *testing.T) {
	for _, v := range []string{"1", "9007199254740993", "9223372036854775807", "2024-01-01T00:00:00.123456789Z"} {
		s := events.Settlement{
			Version: testkit.Version(t, v), Digest: testkit.Tag(t, "1a").Digest, ID: "i", Outcome: events.Superseded, By: testkit.Version(t, v),
			At: time.Date(2024, 1, 1, 0, 0, 0, 987654321, time.UTC),
		}
		data, err := json.Marshal(wire.NewAck("c", "k\x00ä", s))
		if err != nil {
			t.Fatal(err)
		}
		got, err := publish.DecodeAck(data)
		if err != nil {
			t.Fatal(err)
		}
		if got.Settlement != s || got.Channel != "c" || got.Key != "k\x00ä" {
			t.Errorf("%s came back as %+v", data, got)
		}
	}
}
