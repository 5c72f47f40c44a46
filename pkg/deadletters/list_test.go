package deadletters_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestLetterSaysEverything(t *testing.T) {
	l := newLab(t, channels.Latest)
	l.tg.refuses(connectors.Transient, "503") // until its attempts are spent
	l.work("w1")
	before := time.Now().Add(-time.Second)
	u := update("policy/7 ä", 7)
	u.Op, u.Source, u.ID = events.Delete, "urn:platform", "event-1"
	receipt := l.push(u)
	e := l.gaveUp(u.Key)
	if e.State != deadletters.StateOpen || e.Channel != "cal" || e.Key != u.Key || e.EncodedKey != "policy=2F7=20=C3=A4" ||
		e.Version != u.Version || e.ID != "event-1" || e.Op != events.Delete || e.Malformed != "" ||
		e.Outcome != events.DeadLettered || e.Reason != "no thanks" || e.Class != "transient" || e.Code != "503" ||
		e.Attempts != 3 || e.Worker != "w1" || e.UpdateSequence != receipt.Sequence || e.Sequence == 0 || e.PayloadSize != len(u.Payload) {
		t.Errorf("entry %+v", e)
	}
	for name, at := range map[string]time.Time{"first": e.First, "last": e.Last, "stored": e.Stored} {
		if at.Before(before) || at.After(time.Now()) {
			t.Errorf("%s attempt at %v", name, at)
		}
	}
	if e.Update.Payload != nil || e.Header != nil {
		t.Error("a list holds payloads")
	}
	whole, err := l.store.Get(t.Context(), e.Sequence)
	testkit.Must(t, err)
	if got := whole.Update; string(got.Payload) != string(u.Payload) || got.Source != "urn:platform" || got.Key != u.Key || got.Op != events.Delete {
		t.Errorf("update %+v", got)
	}
	if whole.State != deadletters.StateOpen || whole.PayloadSize != len(u.Payload) || whole.Header.Get(events.HeaderID) != "event-1" {
		t.Errorf("entry %+v", whole)
	}
	for name := range whole.Header {
		if strings.HasPrefix(name, "Extsync-Dead") || strings.HasPrefix(name, "Nats-") {
			t.Errorf("header %s is not the update's", name)
		}
	}
}

func TestFilters(t *testing.T) {
	l := newLab(t, channels.Latest)
	l.work("w1")
	l.tg.answers(func(a connectors.Attempt) connectors.Result {
		if a.Key == "c" {
			return connectors.Failed(connectors.Conflict, "409", errors.New("not ours"))
		}
		return connectors.Failed(connectors.Permanent, "42"+a.Key, errors.New("no"))
	})
	l.push(update("1", 1))
	first := l.letter("1")
	l.push(update("2", 1))
	second := l.letter("2")
	l.push(update("c", 1))
	conflict := l.letter("c")
	other := update("1", 1)
	other.Channel = "other"
	l.push(other)
	l.eventually("four letters", func() bool { return len(l.letters(deadletters.Filter{})) == 4 })
	tests := map[string]struct {
		f    deadletters.Filter
		want []uint64
	}{
		"channel":         {deadletters.Filter{Channel: "cal"}, []uint64{first.Sequence, second.Sequence, conflict.Sequence}},
		"key":             {deadletters.Filter{Channel: "cal", Key: "2"}, []uint64{second.Sequence}},
		"no such key":     {deadletters.Filter{Channel: "cal", Key: "3"}, nil},
		"no such channel": {deadletters.Filter{Channel: "none"}, nil},
		"outcome":         {deadletters.Filter{Outcome: events.Conflict}, []uint64{conflict.Sequence}},
		"class":           {deadletters.Filter{Channel: "cal", Class: "permanent"}, []uint64{first.Sequence, second.Sequence}},
		"code":            {deadletters.Filter{Channel: "cal", Code: "421"}, []uint64{first.Sequence}},
		"after":           {deadletters.Filter{Channel: "cal", After: second.Stored}, []uint64{second.Sequence, conflict.Sequence}},
		"before":          {deadletters.Filter{Channel: "cal", Before: second.Stored}, []uint64{first.Sequence}},
		"between":         {deadletters.Filter{Channel: "cal", After: second.Stored, Before: conflict.Stored}, []uint64{second.Sequence}},
		"state":           {deadletters.Filter{State: deadletters.StateResolved}, nil},
		"any state":       {deadletters.Filter{Channel: "cal", AnyState: true}, []uint64{first.Sequence, second.Sequence, conflict.Sequence}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []uint64
			for _, e := range l.letters(tt.f) {
				got = append(got, e.Sequence)
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("letters %v, want %v", got, tt.want)
			}
			n, err := l.store.Count(t.Context(), tt.f)
			if err != nil || n != len(tt.want) {
				t.Errorf("count %d, %v, want %d", n, err, len(tt.want))
			}
		})
	}
}

func TestFiltersThatMakeNoSense(t *testing.T) {
	l := newLab(t, channels.Latest)
	now := time.Now()
	_, err := l.store.Count(t.Context(), deadletters.Filter{
		Key: "k", Outcome: events.Delivered, State: "dead", AnyState: true, After: now, Before: now,
	})
	if !errors.Is(err, deadletters.ErrFilter) {
		t.Fatalf("error %v", err)
	}
	for _, part := range []string{"needs its channel", `outcome "delivered"`, `state "dead"`, "exclude each other", "after is not"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %q", part, err)
		}
	}
	if _, err := l.store.List(t.Context(), deadletters.Filter{Channel: "a.>"}, 1, 0); !errors.Is(err, deadletters.ErrFilter) || !errors.Is(err, events.ErrName) {
		t.Errorf("a wildcard as a channel: %v", err)
	}
	if _, err := l.store.DiscardAll(t.Context(), deadletters.Filter{Key: "k"}, nil); !errors.Is(err, deadletters.ErrFilter) {
		t.Errorf("discard: %v", err)
	}
}

// A publisher that does not keep the contract can publish anything.
func TestMalformedLetters(t *testing.T) {
	l := newLab(t, channels.Latest)
	l.work("w1")
	strange := []*nats.Msg{
		{Subject: "sync.updates.cal.no-headers", Data: []byte("x")},
		{Subject: "sync.updates.cal.bad=", Data: []byte("xy"), Header: nats.Header{events.HeaderVersion: {"seven"}, "Status": {"404"}}},
		{Subject: "sync.updates.cal.==HASH", Header: nats.Header{events.HeaderSubject: {"%zz"}, "ce-x": {"\u00e4"}}},
	}
	for _, msg := range strange {
		_, err := l.JS.PublishMsg(t.Context(), msg)
		testkit.Must(t, err)
	}
	var found []deadletters.Entry
	l.eventually("the letters", func() bool {
		found = l.letters(deadletters.Filter{Code: "malformed"})
		return len(found) == len(strange)
	})
	payloads := map[string]string{}
	for _, msg := range strange {
		payloads[strings.TrimPrefix(msg.Subject, "sync.updates.cal.")] = string(msg.Data)
	}
	for _, e := range found {
		payload, known := payloads[e.EncodedKey]
		if e.State != deadletters.StateOpen || e.Malformed == "" || !known || e.Channel != "cal" || e.PayloadSize != len(payload) {
			t.Errorf("entry %+v", e)
		}
		delete(payloads, e.EncodedKey)
		whole, err := l.store.Get(t.Context(), e.Sequence)
		if err != nil || string(whole.Update.Payload) != payload {
			t.Errorf("shown: %+v, %v", whole, err)
		}
		if _, err := l.store.Replay(t.Context(), e.Sequence); !errors.Is(err, deadletters.ErrMalformed) || !strings.Contains(err.Error(), e.Malformed) {
			t.Errorf("replay: %v", err)
		}
	}
	sum, err := l.store.ReplayAll(t.Context(), deadletters.Filter{}, nil)
	if err != nil || sum.Malformed != len(strange) || sum.Done != len(strange) {
		t.Errorf("replay all: %+v, %v", sum, err)
	}
	testkit.Must(t, l.store.Discard(t.Context(), found[0].Sequence))
	if got := l.letters(deadletters.Filter{AnyState: true}); len(got) != 2 {
		t.Errorf("after discarding: %+v", got)
	}
}

func TestDiscard(t *testing.T) {
	l := newLab(t, channels.Latest)
	l.work("w1")
	kept, gone := l.giveUp("kept", 1), l.giveUp("gone", 1)
	testkit.Must(t, l.store.Discard(t.Context(), gone.Sequence))
	if got := l.letters(deadletters.Filter{AnyState: true}); len(got) != 1 || got[0].Sequence != kept.Sequence {
		t.Errorf("letters %+v", got)
	}
	if _, err := l.store.Get(t.Context(), gone.Sequence); !errors.Is(err, deadletters.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if err := l.store.Discard(t.Context(), gone.Sequence); !errors.Is(err, deadletters.ErrNotFound) {
		t.Errorf("discard again: %v", err)
	}
	if _, err := l.store.Replay(t.Context(), gone.Sequence); !errors.Is(err, deadletters.ErrNotFound) {
		t.Errorf("replay: %v", err)
	}
	if _, err := l.store.Get(t.Context(), 0); !errors.Is(err, deadletters.ErrNotFound) {
		t.Errorf("get nothing: %v", err)
	}
	l.settles("gone", 1, events.DeadLettered) // the ledger remembers
}

func TestOpenAndUnavailable(t *testing.T) {
	b := natstest.Run(t)
	if _, err := deadletters.Open(t.Context(), b.JS, events.DefaultNames()); !errors.Is(err, events.ErrNotProvisioned) {
		t.Errorf("not provisioned: %v", err)
	}
	l := newLab(t, channels.Latest)
	l.Stop(t)
	defer l.Start(t) // Stop runs again when the test ends
	for name, call := range map[string]func() error{
		"list":    func() error { _, err := l.store.List(t.Context(), deadletters.Filter{}, 1, 0); return err },
		"get":     func() error { _, err := l.store.Get(t.Context(), 1); return err },
		"discard": func() error { return l.store.Discard(t.Context(), 1) },
		"replay":  func() error { _, err := l.store.Replay(t.Context(), 1); return err },
	} {
		if err := call(); !errors.Is(err, events.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
