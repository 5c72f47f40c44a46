package standing_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
	"github.com/hms-utl/extsync/pkg/why"
)

// configured is the content of the channel's configuration of now.
const configured wire.ContentID = 7

func tag(version int64) versioning.Tag {
	return versioning.Tag{Version: testkit.Number(version), Digest: versioning.Sum("upsert", []byte{byte(version)})}
}

// record is that of a key after some entries, each for the next version, from 1.
func record(entries ...wire.Entry) wire.Record {
	var rec wire.Record
	for i, e := range entries {
		if e.Version.IsZero() {
			e.Version = testkit.Number(int64(i) + 1)
		}
		e.Key, e.Digest, e.At = "k", tag(int64(i)+1).Digest, time.Now()
		rec.Add(e, wire.LogPosition{Incarnation: 1, Seq: uint64(i) + 1}) //nolint:gosec // not negative
	}
	return rec
}

func ended(o events.Outcome, class, code string, content wire.ContentID) wire.Entry {
	return wire.Entry{Settlement: events.Settlement{Outcome: o, Class: class, Code: code, Message: "so it is", Attempts: 1}, Op: events.Upsert, Content: content}
}

// A place is a channel and what is known of one of its keys: version 1 is at the target, and
// version 2 lies in the stream.
type place struct {
	*scene
	facts standing.Facts
}

// settle gives version 2 an outcome, or a failed attempt.
func (p *place) settle(e wire.Entry) {
	p.facts.Record = record(ended(events.Delivered, "", "", configured), e)
}

// TestEveryCode has a state that causes it for each code, and says how a key stands then.
// A code without one fails it.
func TestEveryCode(t *testing.T) {
	done := ended(events.Delivered, "", "", configured)
	told := func(code why.Code) func(*place) { return func(p *place) { p.waits(code) } }
	failed := func(o events.Outcome, class string) func(*place) {
		return func(p *place) { p.settle(ended(o, class, "503", configured)) }
	}
	rows := []struct {
		name   string
		set    func(*place)
		sync   why.Sync
		health why.Health
		code   why.Code
		says   string
	}{
		{"delivered", func(p *place) { p.settle(done) }, why.InSync, why.HealthOK, "", ""},
		{"delivered, and nobody has the partition", func(p *place) { p.settle(done); p.crew.Beats = nil }, why.InSync, why.HealthOK, "", ""},
		{"deleted at the target", func(p *place) {
			gone := done
			gone.Op, gone.Content = events.Delete, 3
			p.settle(gone)
		}, why.InSync, why.HealthOK, "", ""},
		{"nothing was published", func(p *place) { p.facts.Head, p.facts.Record = versioning.Tag{}, wire.Record{} }, why.Unknown, why.HealthOK, "", ""},
		{"kept back", func(p *place) { p.settle(ended(events.Delivered, "", events.CodeFiltered, configured)) }, why.Filtered, why.HealthOK, "", ""},
		{"kept back, and removed", func(p *place) { p.settle(ended(events.Delivered, "", events.CodeRemoved, configured)) }, why.Filtered, why.HealthOK, "", ""},
		{"not tried", func(*place) {}, why.Waiting, why.HealthOK, why.Pending, "its turn has not come"},
		{"new key, not tried", func(p *place) { p.facts.Record = wire.Record{} }, why.Waiting, why.HealthOK, why.Pending, ""},
		{"overtaken in its lane, the newer one not tried", func(p *place) {
			p.settle(ended(events.Superseded, "stale", events.CodeOlder, configured))
			p.facts.Head = tag(3)
		}, why.Waiting, why.HealthOK, why.Pending, ""},

		{"given up", failed(events.DeadLettered, "permanent"), why.Behind, why.HealthDead, why.DeadLettered, "503: so it is"},
		{"conflict", failed(events.Conflict, "conflict"), why.Behind, why.HealthDead, why.Conflict, "503: so it is"},
		{"mapping", func(p *place) { p.settle(ended(events.DeadLettered, "permanent", "mapping_failed", configured)) }, why.Behind, why.HealthDead, why.MappingFailed, "so it is"},
		{"filter", func(p *place) { p.settle(ended(events.DeadLettered, "permanent", "filter_failed", configured)) }, why.Behind, why.HealthDead, why.MappingFailed, ""},
		{"malformed", func(p *place) { p.facts.Malformed = errors.New("no version") }, why.Unknown, why.HealthDead, why.Malformed, "no version"},
		{"the target's is newer", func(p *place) {
			e := ended(events.Superseded, "stale", "409", configured)
			e.By = testkit.Number(9)
			p.settle(e)
		}, why.Ahead, why.HealthOK, why.TargetNewer, "version 9"},
		{"another configuration", func(p *place) { p.settle(ended(events.Delivered, "", "", 3)) }, why.Behind, why.HealthOK, why.MappingChanged, "older configuration"},
		{"another filter", func(p *place) { p.settle(ended(events.Delivered, "", events.CodeFiltered, 3)) }, why.Unknown, why.HealthOK, why.MappingChanged, "filter of an older configuration"},

		{"failed", failed(wire.Retrying, "transient"), why.Behind, why.HealthRetrying, why.TargetError, "failed once, with 503: so it is"},
		{"throttled", failed(wire.Retrying, "throttled"), why.Behind, why.HealthRetrying, why.RateLimited, ""},
		{"not ready", failed(wire.Retrying, "unready"), why.Behind, why.HealthRetrying, why.Unready, ""},
		{"refused alone", failed(wire.Retrying, "misconfigured"), why.Behind, why.HealthRetrying, why.Suspect, ""},
		{"parked", failed(wire.Parked, "transient"), why.Behind, why.HealthParked, why.Parked, ""},
		{"failed, of a target that is down", func(p *place) { failed(wire.Retrying, "transient")(p); p.waits(why.CircuitOpen) }, why.Behind, why.HealthDown, why.CircuitOpen, "so it is"},
		{"parked, and blocked", func(p *place) { failed(wire.Parked, "transient")(p); p.waits(why.Misconfigured) }, why.Behind, why.HealthBlocked, why.Misconfigured, ""},
		{"parked, and others wait", func(p *place) { failed(wire.Parked, "transient")(p); p.waits(why.RateLimited) }, why.Behind, why.HealthParked, why.Parked, ""},
		{"not tried, others fail", told(why.TargetError), why.Waiting, why.HealthOK, why.Pending, ""},

		{"paused", func(p *place) { p.entry.Config.Paused = new(true) }, why.Behind, why.HealthPaused, why.Paused, "paused"},
		{"deleted", func(p *place) { p.entry.Deleted = time.Now() }, why.Behind, why.HealthPaused, why.Deleted, "deleted"},
		{"changing", func(p *place) { p.entry.Gated = true }, why.Waiting, why.HealthOK, why.Changing, ""},
		{"nobody has it", func(p *place) { p.crew.Beats = nil }, why.Behind, why.HealthBlocked, why.NoWorker, "no connector-worker is alive"},
		{"silence", func(p *place) { p.backlog.Partitions[1].Written = p.backlog.Partitions[1].Oldest }, why.Behind, why.HealthBlocked, why.NoProgress, "does not say why"},
		{"secret", told(why.SecretMissing), why.Behind, why.HealthBlocked, why.SecretMissing, "so it is"},
		{"not allowed", told(why.NotAllowed), why.Behind, why.HealthBlocked, why.NotAllowed, ""},
		{"cannot be opened", told(why.ConnectorFailed), why.Behind, why.HealthBlocked, why.ConnectorFailed, ""},
		{"login", told(why.CredentialsRefused), why.Behind, why.HealthBlocked, why.CredentialsRefused, ""},
		{"no table", told(why.Misconfigured), why.Behind, why.HealthBlocked, why.Misconfigured, ""},
		{"refuses all", told(why.TargetRefuses), why.Behind, why.HealthBlocked, why.TargetRefuses, ""},
		{"cannot be taken over", told(why.TakeoverFailed), why.Behind, why.HealthBlocked, why.TakeoverFailed, ""},
		{"broker full", told(why.BrokerRefuses), why.Behind, why.HealthBlocked, why.BrokerRefuses, ""},
		{"quota", told(why.QuotaFull), why.Behind, why.HealthBlocked, why.QuotaFull, ""},
		{"down", told(why.CircuitOpen), why.Waiting, why.HealthDown, why.CircuitOpen, "so it is"},
		{"asked to wait", told(why.RateLimited), why.Waiting, why.HealthRetrying, why.RateLimited, "so it is"},
		{"being taken over", told(why.TakingOver), why.Waiting, why.HealthOK, why.TakingOver, ""},
		{"being filled", func(p *place) { p.facts.Record, p.backlog.Filling, p.backlog.FillTotal = wire.Record{}, 5, 9 }, why.Waiting, why.HealthOK, why.Filling, "5 of 9 keys"},
		{"being opened", told(why.Opening), why.Waiting, why.HealthOK, why.Opening, ""},
	}
	seen := map[why.Code]bool{}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p := &place{scene: newScene(), facts: standing.Facts{Head: tag(2), Published: time.Now(), Record: record(done)}}
			p.entry.Content = configured
			row.set(p)
			p.facts.Entry = p.entry
			if p.facts.Waits() {
				p.facts.Held = standing.Judge(p.entry, p.backlog, p.crew).Partitions[1].Why
			}
			k := standing.JudgeKey(p.facts)
			if k.Sync != row.sync || k.Health != row.health {
				t.Errorf("%s, %s; want %s, %s (%v)", k.Sync, k.Health, row.sync, row.health, k.Why)
			}
			if row.code == "" {
				if k.Why != nil {
					t.Errorf("a reason where there is nothing to say: %v", k.Why)
				}
				return
			}
			seen[row.code] = true
			if k.Why == nil || k.Why.Code != row.code || !strings.Contains(k.Why.Message, row.says) || k.Why.Advice != row.code.Advice() {
				t.Errorf("%+v, want %s: %s", k.Why, row.code, row.says)
			}
		})
	}
	for code, ok := range ofChannels() {
		if seen[code] = true; !ok(code) {
			t.Errorf("%s does not come about", code)
		}
	}
	for _, code := range why.Codes() {
		if !seen[code] {
			t.Errorf("%s: no row of this test causes it", code)
		}
	}
}

// ofChannels causes the codes that say nothing of where a key's newest version is.
func ofChannels() map[why.Code]func(why.Code) bool {
	found := func(c standing.Channel, code why.Code) bool {
		return slices.ContainsFunc(c.Findings, func(f standing.Finding) bool { return f.Code == code && f.Advice != "" && f.Message != "" })
	}
	return map[why.Code]func(why.Code) bool{
		why.StreamGone: func(c why.Code) bool { return found(standing.Gone("SYNC_UPD_erp"), c) },
		why.ReloadFailed: func(c why.Code) bool {
			s := newScene()
			s.waits(c)
			return found(standing.Judge(s.entry, s.backlog, s.crew), c)
		},
		why.ChannelFull: func(c why.Code) bool {
			s := newScene()
			s.entry.Config.Mode, s.backlog.MaxBytes = channels.Latest, 1000
			s.backlog.Bytes = 799
			early := found(standing.Judge(s.entry, s.backlog, s.crew), c)
			s.backlog.Bytes = 800
			return !early && found(standing.Judge(s.entry, s.backlog, s.crew), c)
		},
		why.Superseded: func(c why.Code) bool {
			k := standing.Entity{Sync: why.Behind, Health: why.HealthDown, Why: &why.Reason{Code: why.CircuitOpen, Message: "so it is"}}
			r := k.Overtaken(testkit.Number(3), testkit.Number(4))
			return r.Code == c && r.Message == "version 3 was overtaken by 4, which has no outcome yet: circuit_open: so it is"
		},
	}
}

// TestChannelCountsItsKeys: what is undelivered waits or is held back, and none of these keys
// is called in sync.
func TestChannelCountsItsKeys(t *testing.T) {
	s := newScene()
	for p := range s.backlog.Partitions {
		s.backlog.Partitions[p].Progress.Census = channels.Census{Keys: 11, Standings: why.Counts{
			{Sync: why.InSync, Health: why.HealthOK, Keys: 9},
			{Sync: why.Behind, Health: why.HealthRetrying, Why: why.TargetError, Keys: 1},
			{Sync: why.Behind, Health: why.HealthDead, Why: why.DeadLettered, Keys: 1},
		}}
	}
	for _, c := range []struct {
		name   string
		set    func()
		health why.Health
		want   map[why.Sync]int64
	}{
		{"moving", func() {}, why.HealthRetrying, map[why.Sync]int64{why.InSync: 14, why.Waiting: 4, why.Behind: 4}},
		{"target down", func() { s.waits(why.CircuitOpen) }, why.HealthDown, map[why.Sync]int64{why.InSync: 14, why.Waiting: 4, why.Behind: 4}},
		{"a part is blocked", func() { s.waits(why.CredentialsRefused) }, why.HealthBlocked, map[why.Sync]int64{why.InSync: 14, why.Waiting: 2, why.Behind: 6}},
		{"paused", func() { s.entry.Config.Paused = new(true) }, why.HealthPaused, map[why.Sync]int64{why.InSync: 14, why.Behind: 8}},
		{"not counted", func() { s.entry.Content = configured }, why.HealthPaused, map[why.Sync]int64{}},
	} {
		c.set()
		got := standing.Judge(s.entry, s.backlog, s.crew)
		if sync := got.Standings.BySync(); got.Health != c.health || len(sync) != len(c.want) {
			t.Errorf("%s: health %s, %v; want %s, %v", c.name, got.Health, sync, c.health, c.want)
		}
		for sync, n := range c.want {
			if got := got.Standings.BySync()[sync]; got != n {
				t.Errorf("%s: %d keys are %s, want %d", c.name, got, sync, n)
			}
		}
	}
}

// TestDeadLettersDoNotMakeAChannelIll: a channel that delivers is ok with the number of keys that
// were given up, and an open circuit is its own health, apart from keys that are tried again.
func TestDeadLettersDoNotMakeAChannelIll(t *testing.T) {
	for name, c := range map[string]struct {
		tried  why.Standing
		waits  why.Code
		health why.Health
	}{
		"it delivers":                    {why.Standing{}, "", why.HealthOK},
		"it retries":                     {why.Standing{Sync: why.Behind, Health: why.HealthRetrying, Code: why.TargetError}, "", why.HealthRetrying},
		"it has parked":                  {why.Standing{Sync: why.Behind, Health: why.HealthParked, Code: why.Parked}, "", why.HealthParked},
		"the target is down":             {why.Standing{}, why.CircuitOpen, why.HealthDown},
		"down, and what failed before":   {why.Standing{Sync: why.Behind, Health: why.HealthRetrying, Code: why.TargetError}, why.CircuitOpen, why.HealthDown},
		"down, and what is parked":       {why.Standing{Sync: why.Behind, Health: why.HealthParked, Code: why.Parked}, why.CircuitOpen, why.HealthDown},
		"it is slow, as the target asks": {why.Standing{}, why.RateLimited, why.HealthRetrying},
	} {
		s := newScene()
		census := channels.Census{Keys: 9, Standings: why.Counts{{Sync: why.Behind, Health: why.HealthDead, Why: why.DeadLettered, Keys: 3}}}
		census.Standings.Add(c.tried, 1)
		for p := range s.backlog.Partitions {
			s.backlog.Partitions[p].Progress.Census = census
		}
		if c.waits != "" {
			s.waits(c.waits)
		}
		got := standing.Judge(s.entry, s.backlog, s.crew)
		if got.Health != c.health || got.Standings.Dead() != 6 {
			t.Errorf("%s: %s with %d dead, want %s with 6", name, got.Health, got.Standings.Dead(), c.health)
		}
	}
}

// 'get' said "mapping_failed: mapping_failed: mapping_failed: ...": the code is that of the
// reason, and the message of a mapping begins with it as well.
func TestCodeOfAMappingIsSaidOnce(t *testing.T) {
	p := &place{scene: newScene(), facts: standing.Facts{Head: tag(2), Published: time.Now()}}
	p.entry.Content = configured
	e := ended(events.DeadLettered, "permanent", "mapping_failed", configured)
	e.Message = "mapping_failed: .x: it fails"
	p.settle(e)
	p.facts.Entry = p.entry
	if k := standing.JudgeKey(p.facts); k.Why == nil || k.Why.Code != why.MappingFailed || k.Why.Message != ".x: it fails" {
		t.Errorf("%+v", k.Why)
	}
}
