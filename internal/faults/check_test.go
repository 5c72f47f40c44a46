package faults_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// tag returns a version with a content of its own; another content gives another
// digest.
func tag(v int64, content ...string) versioning.Tag {
	return versioning.Tag{
		Version: versioning.Must(versioning.Number(v)),
		Digest:  versioning.Sum("upsert", []byte(strings.Join(content, ","))),
	}
}

// A story is a history that a test writes by hand. Times are milliseconds.
type story struct {
	mode     channels.Mode
	history  faults.History
	accepted []faults.Accepted
	outcomes faults.Outcomes
	seq      uint64
}

func (s *story) accept(key string, versions ...int64) {
	for _, v := range versions {
		s.accepted = append(s.accepted, faults.Accepted{Key: key, Tag: tag(v)})
	}
}

func (s *story) write(key string, versions ...int64) {
	for _, v := range versions {
		s.writeTag(key, tag(v))
	}
}

func (s *story) writeTag(key string, t versioning.Tag) {
	at := time.Duration(len(s.history.Writes)+1) * time.Millisecond
	s.history.Writes = append(s.history.Writes, faults.Write{Key: key, Tag: t, At: at, Worker: "w", Attempt: 1})
	if s.history.Held == nil {
		s.history.Held = map[string]versioning.Tag{}
	}
	s.history.Held[key] = t
}

func (s *story) call(worker, key string, from, to int) {
	s.history.Calls = append(s.history.Calls, faults.Call{
		Key: key, Version: tag(1).Version, Worker: worker,
		From: time.Duration(from) * time.Millisecond, To: time.Duration(to) * time.Millisecond, Answer: "200",
	})
}

func (s *story) log(key string, v int64, o events.Outcome) {
	s.seq++
	s.outcomes.Add(wire.Group{Format: wire.Format, Worker: "w", Entries: []wire.Entry{{
		Key: key, Settlement: events.Settlement{Version: tag(v).Version, Digest: tag(v).Digest, Outcome: o},
	}}}, wire.LogPosition{Seq: s.seq})
}

func (s *story) deliver(key string, versions ...int64) {
	for _, v := range versions {
		s.accept(key, v)
		s.write(key, v)
		s.log(key, v, events.Delivered)
	}
}

func (s *story) check() error {
	return faults.Check(s.history, s.accepted, &s.outcomes, s.mode)
}

func TestCheckAcceptsWhatIsRight(t *testing.T) {
	tests := []struct {
		name string
		mode channels.Mode
		tell func(*story)
	}{
		{"nothing happened", channels.Latest, func(*story) {}},
		{"two keys", channels.Every, func(s *story) { s.deliver("a", 1, 2, 3); s.deliver("b", 1) }},
		{"a version applied again by a retry", channels.Every, func(s *story) { s.deliver("a", 1); s.write("a", 1) }},
		{"versions that no worker saw are superseded", channels.Latest, func(s *story) { s.accept("a", 1, 2); s.deliver("a", 3) }},
		{"skipped in every mode since it was dead-lettered", channels.Every, func(s *story) {
			s.deliver("a", 1)
			s.accept("a", 2)
			s.log("a", 2, events.DeadLettered)
			s.deliver("a", 3)
		}},
		{"another content of a version came first and was refused", channels.Every, func(s *story) {
			s.accepted = append(s.accepted, faults.Accepted{Key: "a", Tag: tag(1, "other")})
			s.deliver("a", 1, 2)
			s.outcomes.Add(wire.Group{Format: wire.Format, Entries: []wire.Entry{{
				Key: "a", Settlement: events.Settlement{Version: tag(1).Version, Digest: tag(1, "other").Digest, Outcome: events.Conflict},
			}}}, wire.LogPosition{Seq: 99})
		}},
		{"the newest ended as a conflict", channels.Latest, func(s *story) {
			s.deliver("a", 1)
			s.accept("a", 2)
			s.log("a", 2, events.Conflict)
		}},
		{"a failed attempt is no outcome", channels.Latest, func(s *story) {
			s.accept("a", 1)
			s.log("a", 1, wire.Retrying)
			s.write("a", 1)
			s.log("a", 1, events.Delivered)
		}},
		{"the publisher got no answer and nothing was stored", channels.Every, func(s *story) {
			s.deliver("a", 1)
			s.accepted = append(s.accepted, faults.Accepted{Key: "a", Tag: tag(2), Uncertain: true})
		}},
		{"a replay has a second outcome", channels.Latest, func(s *story) {
			s.deliver("a", 1)
			s.accepted[0].Replayed = true
			s.log("a", 1, events.Delivered)
		}},
		{"calls one after the other, other keys meanwhile", channels.Latest, func(s *story) {
			s.deliver("a", 1)
			s.call("w", "a", 1, 5)
			s.call("w", "b", 2, 9)
			s.call("v", "a", 5, 6)
		}},
		{"two calls at once, one of a frozen worker", channels.Latest, func(s *story) {
			s.deliver("a", 1)
			s.call("w", "a", 100, 5000)
			s.call("v", "a", 4000, 4100)
			s.history.Absences = []faults.Absence{{Worker: "w", From: 200 * time.Millisecond, To: 4500 * time.Millisecond}}
		}},
		{"the ledger says what the log adds up to", channels.Latest, func(s *story) {
			s.deliver("a", 1, 2)
			s.outcomes.Ledger = map[string]wire.Record{"a": *s.outcomes.Records["a"]}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &story{mode: tt.mode}
			tt.tell(s)
			if err := s.check(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCheckNamesTheFirstViolation(t *testing.T) {
	tests := []struct {
		name      string
		mode      channels.Mode
		guarantee int
		says      []string
		tell      func(*story)
	}{
		{"an older version applied after a newer one", channels.Latest, 2, []string{"key a", "version 1", "after the newer version 2", "write 2"}, func(s *story) {
			s.deliver("a", 1, 2)
			s.write("a", 1)
			s.write("a", 2) // that it is right again in the end does not heal it
		}},
		{"the first of two steps back", channels.Latest, 2, []string{"key b", "version 4"}, func(s *story) {
			s.deliver("a", 1, 2)
			s.deliver("b", 4, 5)
			s.write("b", 4)
			s.write("a", 1)
		}},
		{"one version with two contents", channels.Latest, 2, []string{"version 1", "digest"}, func(s *story) {
			s.deliver("a", 1)
			s.accepted = append(s.accepted, faults.Accepted{Key: "a", Tag: tag(1, "other")})
			s.writeTag("a", tag(1, "other"))
		}},
		{"a write that nobody published", channels.Latest, 2, []string{"version 9", "never published"}, func(s *story) {
			s.deliver("a", 1)
			s.write("a", 9)
		}},
		{"two calls of one key in flight", channels.Latest, 2, []string{"key a", "call 1", "in flight"}, func(s *story) {
			s.deliver("a", 1)
			s.call("w", "a", 1, 5)
			s.call("v", "a", 4, 6)
		}},
		{"a short call inside of a long one hides nothing", channels.Latest, 2, []string{"call 2"}, func(s *story) {
			s.deliver("a", 1)
			s.call("w", "a", 1, 900)
			s.history.Absences = []faults.Absence{{Worker: "v", From: 0, To: time.Millisecond}}
			s.call("v", "a", 4, 6)
			s.call("u", "a", 7, 8)
		}},
		{"absence of another worker is no excuse", channels.Latest, 2, []string{"call 1"}, func(s *story) {
			s.deliver("a", 1)
			s.call("w", "a", 1, 5)
			s.call("v", "a", 4, 6)
			s.history.Absences = []faults.Absence{{Worker: "u", From: 0, To: time.Second}}
		}},
		{"absence is no excuse for a step back", channels.Latest, 2, []string{"after the newer version"}, func(s *story) {
			s.deliver("a", 1, 2)
			s.write("a", 1)
			s.history.Absences = []faults.Absence{{Worker: "w", From: 0, To: time.Second}}
		}},
		{"a version skipped in every mode", channels.Every, 2, []string{"version 2", "skipped", "version 3"}, func(s *story) {
			s.deliver("a", 1)
			s.accept("a", 2)
			s.deliver("a", 3)
		}},
		{"delivered, but only after a later one", channels.Every, 2, []string{"version 2"}, func(s *story) {
			s.deliver("a", 1)
			s.accept("a", 2)
			s.deliver("a", 3)
			s.log("a", 2, events.Delivered)
		}},
		{"delivered, but never applied", channels.Latest, 1, []string{"version 2", "never applied"}, func(s *story) {
			s.deliver("a", 1)
			s.accept("a", 2)
			s.log("a", 2, events.Delivered)
		}},
		{"two outcomes", channels.Latest, 3, []string{"version 1", "two outcomes", "record 1", "record 2"}, func(s *story) {
			s.deliver("a", 1)
			s.log("a", 1, events.Delivered)
		}},
		{"delivered and superseded", channels.Latest, 3, []string{"two outcomes"}, func(s *story) {
			s.deliver("a", 1)
			s.log("a", 1, events.Superseded)
		}},
		{"an outcome of what nobody published", channels.Latest, 3, []string{"version 7", "nobody"}, func(s *story) {
			s.deliver("a", 1)
			s.log("a", 7, events.DeadLettered)
		}},
		{"no outcome", channels.Latest, 3, []string{"version 2", "no outcome"}, func(s *story) {
			s.deliver("a", 1)
			s.accept("a", 2)
		}},
		{"every mode does not derive outcomes", channels.Every, 3, []string{"version 1", "no outcome"}, func(s *story) {
			s.accept("a", 1)
			s.write("a", 1)
			s.deliver("a", 2)
		}},
		{"only retried", channels.Latest, 3, []string{"version 1", "no outcome"}, func(s *story) {
			s.accept("a", 1)
			s.log("a", 1, wire.Retrying)
		}},
		{"the ledger lost a version", channels.Latest, 3, []string{"key a", "ledger"}, func(s *story) {
			s.deliver("a", 1)
			old := *s.outcomes.Records["a"]
			s.deliver("a", 2)
			s.outcomes.Ledger = map[string]wire.Record{"a": old}
		}},
		{"the ledger has no record", channels.Latest, 3, []string{"key a", "no record"}, func(s *story) {
			s.deliver("a", 1)
			s.outcomes.Ledger = map[string]wire.Record{}
		}},
		{"the target holds an older version at the end", channels.Latest, 4, []string{"version 2", "holds version 1"}, func(s *story) {
			s.deliver("a", 1, 2)
			s.history.Held["a"] = tag(1)
		}},
		{"the target lost the key", channels.Latest, 4, []string{"key a", "does not have"}, func(s *story) {
			s.deliver("a", 1)
			delete(s.history.Held, "a")
		}},
		{"superseded by nothing newer", channels.Latest, 4, []string{"version 2", "holds version 1"}, func(s *story) {
			s.deliver("a", 1)
			s.accept("a", 2)
			s.log("a", 2, events.Superseded)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &story{mode: tt.mode}
			tt.tell(s)
			err := s.check()
			var v *faults.Violation
			if !errors.As(err, &v) || v.Guarantee != tt.guarantee {
				t.Fatalf("got %v, want a violation of guarantee %d", err, tt.guarantee)
			}
			for _, want := range tt.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}
