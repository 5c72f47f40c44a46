package events_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestValidate(t *testing.T) {
	tests := map[string]struct {
		change func(*events.Update)
		names  []string // nil: valid
	}{
		"defaults":                 {change: func(*events.Update) {}},
		"tombstone":                {change: func(u *events.Update) { u.Op, u.Payload = events.Delete, nil }},
		"base":                     {change: func(u *events.Update) { u.Base = testkit.Version(t, "6") }},
		"longest attribute":        {change: func(u *events.Update) { u.ID = strings.Repeat("x", 512) }},
		"content type with a name": {change: func(u *events.Update) { u.ContentType = `text/plain; charset="utf-8"` }},
		"the last instant":         {change: func(u *events.Update) { u.Time = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC) }},

		"no channel":           {func(u *events.Update) { u.Channel = "" }, []string{"channel"}},
		"channel with a dot":   {func(u *events.Update) { u.Channel = "a.b" }, []string{"channel", "a.b"}},
		"no key":               {func(u *events.Update) { u.Key = "" }, []string{"key", "empty"}},
		"no version":           {func(u *events.Update) { u.Version = testkit.Version(t, "1"); u.Version = u.Base }, []string{"version", "missing"}},
		"base of another kind": {func(u *events.Update) { u.Base = testkit.Version(t, "2024-01-01T00:00:00Z") }, []string{"base"}},
		"unknown op":           {func(u *events.Update) { u.Op = "merge" }, []string{"op", "merge"}},
		"header injection":     {func(u *events.Update) { u.ID = "a\r\nNats-Rollup: all" }, []string{"id", "printable"}},
		"tab":                  {func(u *events.Update) { u.Source = "a\tb" }, []string{"source"}},
		"not ASCII":            {func(u *events.Update) { u.Type = "ä" }, []string{"type"}},
		"space at the end":     {func(u *events.Update) { u.TraceState = "a " }, []string{"tracestate", "white space"}},
		"attribute too long":   {func(u *events.Update) { u.ID = strings.Repeat("x", 513) }, []string{"id", "513"}},
		"trace too long":       {func(u *events.Update) { u.TraceParent = strings.Repeat("x", 1025) }, []string{"traceparent"}},
		"reply too long":       {func(u *events.Update) { u.ReplyTo = strings.Repeat("x", 256) }, []string{"reply to"}},
		"reply to no subject":  {func(u *events.Update) { u.ReplyTo = "_INBOX..a" }, []string{"reply to", "subject"}},
		"reply to a wildcard":  {func(u *events.Update) { u.ReplyTo = "_INBOX.>" }, []string{"reply to", "subject"}},
		"reply to a space":     {func(u *events.Update) { u.ReplyTo = "_INBOX.a b" }, []string{"reply to", "subject"}},
		"no media type":        {func(u *events.Update) { u.ContentType = "/" }, []string{"content type"}},
		"year 10000":           {func(u *events.Update) { u.Time = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, []string{"time"}},
		"year 10000 in UTC only": {
			func(u *events.Update) {
				u.Time = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -2*3600))
			},
			[]string{"time"},
		},
		"year 0 in UTC only": {
			func(u *events.Update) { u.Time = time.Date(1, 1, 1, 1, 0, 0, 0, time.FixedZone("", 2*3600)) },
			[]string{"time"},
		},
		"everything": {
			func(u *events.Update) { *u = events.Update{Op: "x", ContentType: "/", ReplyTo: " "} },
			[]string{"channel", "key", "version", "op", "content type", "reply to"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u := events.Update{Channel: "c", Key: "k", Version: testkit.Version(t, "7"), Payload: []byte("secret payload")}
			tt.change(&u)
			_, err := wire.Encode(events.DefaultNames(), u)
			if tt.names == nil {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, events.ErrInvalidUpdate) {
				t.Fatalf("error = %v, want ErrInvalidUpdate", err)
			}
			for _, want := range tt.names {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not name %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "secret payload") || strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("error %q shows the payload or breaks a line", err)
			}
		})
	}
}

func TestIdentityOfAnUpdate(t *testing.T) {
	u := events.Update{Channel: "c", Key: "a.b", Version: testkit.Version(t, "7"), Payload: []byte("x")}
	id := func(u events.Update) string {
		t.Helper()
		enc, err := events.EncodeKey(u.Key)
		if err != nil {
			t.Fatal(err)
		}
		return events.MessageID(events.ToChannel(u.Channel), enc, u.Tag())
	}
	if got, want := id(u), "c/a=2Eb/7/"+u.Digest().Short(); got != want {
		t.Errorf("MessageID = %s, want %s", got, want)
	}
	same := u
	same.ID, same.ReplyTo, same.Time, same.Op, same.ContentType = "other", "_INBOX.x", time.Now(), events.Upsert, "text/plain"
	if id(same) != id(u) || same.Digest() != u.Digest() {
		t.Error("what does not reach the content changed the identity")
	}
	for name, change := range map[string]func(*events.Update){
		"payload": func(u *events.Update) { u.Payload = []byte("y") },
		"op":      func(u *events.Update) { u.Op = events.Delete },
		"version": func(u *events.Update) { u.Version = testkit.Version(t, "8") },
		"key":     func(u *events.Update) { u.Key = "a=2Eb" },
		"channel": func(u *events.Update) { u.Channel = "d" },
	} {
		other := u
		change(&other)
		if id(other) == id(u) {
			t.Errorf("another %s has the same message id", name)
		}
	}
}

func TestWithDefaults(t *testing.T) {
	u := events.Update{Channel: "c", Key: "k", Version: testkit.Version(t, "7")}
	full := u.WithDefaults()
	id := events.MessageID(events.ToChannel("c"), "k", u.Tag())
	if full.Op != events.Upsert || full.Source != "extsync" || full.Type != "extsync.update" ||
		full.ContentType != "application/json" || full.ID != id {
		t.Errorf("WithDefaults = %+v", full)
	}
	if full.Tag() != u.Tag() {
		t.Error("the defaults changed the content")
	}
}

func TestHeadErrorSaysWhy(t *testing.T) {
	none := versioning.Tag{}
	for want, e := range map[string]events.HeadError{
		"stale: channel c, key k: version 6 is older than the newest, 7": {Reason: events.ErrStale, Refused: testkit.Tag(t, "6a"), Head: testkit.Tag(t, "7a")},
		"conflict: channel c, key k: version 7 exists with other content (digest " + testkit.Tag(t, "7a").Digest.Short() + ", not " + testkit.Tag(t, "7b").Digest.Short() + ")": {Reason: events.ErrConflict, Refused: testkit.Tag(t, "7b"), Head: testkit.Tag(t, "7a")},
		"conflict: channel c, key k: version 8 was made from version 6, but the newest is 7":                                                                                    {Reason: events.ErrConflict, Refused: testkit.Tag(t, "8a"), Head: testkit.Tag(t, "7a"), Base: testkit.Version(t, "6")},
		"conflict: channel c, key k: version 8 was made from version 7, but the key has no version yet":                                                                         {Reason: events.ErrConflict, Refused: testkit.Tag(t, "8a"), Head: none, Base: testkit.Version(t, "7")},
	} {
		e.Channel, e.Key = "c", "k"
		if e.Error() != want {
			t.Errorf("got  %s\nwant %s", e.Error(), want)
		}
	}
}
