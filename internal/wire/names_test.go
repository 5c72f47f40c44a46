package wire_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Everything that is stored or that others rely on; a change breaks running
// installations.
func TestNamesAreFixed(t *testing.T) {
	n := events.DefaultNames()
	source, destination := wire.UpdateTransform(n, events.ToChannel("erp_db"))
	ack, err := n.ServiceAck("billing", "7")
	if err != nil {
		t.Fatal(err)
	}
	acks, err := n.ServiceAcks("billing")
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		n.Update(events.ToChannel("erp_db"), "p-1"):             "sync.updates.erp_db.p-1",
		wire.StoredUpdate(n, events.ToChannel("erp_db"), "p-1"): "sync.upd.erp_db.1.5.p-1",
		wire.StoredUpdates(n, events.ToChannel("erp_db")):       "sync.upd.erp_db.*.*.*",
		wire.UpdateStream(n, events.ToChannel("erp_db")):        "SYNC_UPD_erp_db",
		source:                                                    "sync.updates.erp_db.*",
		destination:                                               "sync.upd.erp_db.{{partition(4,1)}}.{{partition(16,1)}}.{{wildcard(1)}}",
		wire.DeadLetter(n, "erp_db", "p-1"):                       "sync.dead.erp_db.1.5.p-1",
		wire.DeadOf(n, "erp_db"):                                  "sync.dead.erp_db.>",
		wire.DeadOf(n, ""):                                        "sync.dead.>",
		wire.DeadFilter(n, "erp_db"):                              "sync.dead.erp_db.*.*.*",
		wire.DeadStream(n):                                        "SYNC_DEAD",
		wire.DeadSubjects(n):                                      "sync.dead.>",
		wire.ParkedUpdate(n, "erp_db", "p-1"):                     "sync.parked.erp_db.1.5.p-1",
		wire.ParkedFilter(n, "erp_db"):                            "sync.parked.erp_db.*.*.*",
		wire.ParkedStream(n):                                      "SYNC_PARKED",
		wire.Silent(n, "erp_db"):                                  "sync.silent.erp_db",
		n.Update(events.ToTopic("erp_db"), "p-1"):                 "sync.topics.erp_db.p-1",
		wire.StoredUpdate(n, events.ToTopic("erp_db"), "p-1"):     "sync.top.erp_db.1.5.p-1",
		wire.StoredUpdates(n, events.ToTopic("erp_db")):           "sync.top.erp_db.*.*.*",
		wire.UpdateStream(n, events.ToTopic("erp_db")):            "SYNC_TOPIC_erp_db",
		wire.PartitionUpdates(n, events.ToTopic("erp_db"), 5, 16): "sync.top.erp_db.1.5.*",
		wire.Control(n, "erp_db", 2):                              "sync.ctl.erp_db.2",
		wire.OutcomesOf(n, "erp_db"):                              "sync.out.erp_db.*.*",
		wire.PartitionOutcomes(n, "erp_db", 2):                    "sync.out.erp_db.*.2",
		acks:                                                      "sync.acks.billing.*",
		n.Prefix():                                                "sync",
		wire.ParkedSubjects(n):                                    "sync.parked.>",
		wire.Outcomes(n, "erp_db", 0xabc, 2):                      "sync.out.erp_db.0000000000000abc.2",
		wire.InstallationBucket(n):                                "sync_installation",
		wire.OutcomeStream(n):                                     "SYNC_OUTCOMES",
		wire.OutcomeSubjects(n):                                   "sync.out.>",
		wire.AckStream(n):                                         "SYNC_ACKS",
		wire.AckSubjects(n):                                       "sync.acks.>",
		ack:                                                       "sync.acks.billing.7",
		wire.RegistryBucket(n):                                    "sync_channels",
		wire.LedgerBucket(n):                                      "sync_ledger",
		wire.ProgressBucket(n):                                    "sync_progress",
		wire.WorkersBucket(n):                                     "sync_workers",
		wire.LeasesBucket(n):                                      "sync_leases",
		wire.JobsBucket(n):                                        "sync_jobs",
		wire.SessionsBucket(n):                                    "sync_sessions",
		wire.KVSubject("b", "k"):                                  "$KV.b.k",
		wire.KVStream("b"):                                        "KV_b",
		wire.LedgerKey(n, "erp_db", "p-1"):                        "erp_db.1.5.p-1",
		wire.LedgerRecords(n, "erp_db"):                           "$KV.sync_ledger.erp_db.*.*.*",
		wire.PartitionRecords(n, "erp_db", 5, 16):                 "$KV.sync_ledger.erp_db.1.5.*",
		wire.PartitionDead(n, "erp_db", 5, 16):                    "sync.dead.erp_db.1.5.*",
		wire.LedgerSubject(n, "erp_db", "p-1"):                    "$KV.sync_ledger.erp_db.1.5.p-1",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestNewNames(t *testing.T) {
	n, err := events.NewNames("tenant7")
	if err != nil {
		t.Fatal(err)
	}
	if got := n.Update(events.ToChannel("c"), "k"); got != "tenant7.updates.c.k" {
		t.Errorf("Update = %s", got)
	}
	if got := wire.UpdateStream(n, events.ToChannel("c")); got != "TENANT7_UPD_c" {
		t.Errorf("UpdateStream = %s", got)
	}
	for _, bad := range []string{"", "Sync", "7up", "a.b", "a_b", "a-b", "a*", "a>", "sync ", "sync\n", "abcdefghijklmnopq"} {
		if _, err := events.NewNames(bad); !errors.Is(err, events.ErrName) {
			t.Errorf("prefix %q: %v, want ErrName", bad, err)
		}
	}
}

func TestCheckChannel(t *testing.T) {
	for _, good := range []string{"a", "0", "erp_db", "appointment-calendar", strings.Repeat("a", 63)} {
		if err := events.CheckChannel(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "_a", "-a", "A", "a.b", "a b", "a*", ">", "a/b", "a\n", "ä", strings.Repeat("a", 64), strings.Repeat("a", 1<<20)} {
		err := events.CheckChannel(bad)
		if !errors.Is(err, events.ErrName) {
			t.Errorf("%.80q: %v, want ErrName", bad, err)
		} else if len(err.Error()) > 300 {
			t.Errorf("%.80q: the error has %d bytes", bad, len(err.Error()))
		}
	}
}

func TestSplitStoredUpdate(t *testing.T) {
	n := events.DefaultNames()
	for _, want := range []events.Route{events.ToChannel("erp_db"), events.ToTopic("erp_db")} {
		route, enc, ok := wire.SplitStoredUpdate(n, wire.StoredUpdate(n, want, "=2E"))
		if !ok || route != want || enc != "=2E" {
			t.Errorf("= %s, %q, %t, want %s", route, enc, ok, want)
		}
	}
	for _, bad := range []string{"", "sync.upd.c.1.1", "sync.upd.c.1.1.k.more", "sync.updates.c.k", "sync.topics.c.k", "sync.dead.c.1.1.k", "other.upd.c.1.1.k"} {
		if _, _, ok := wire.SplitStoredUpdate(n, bad); ok {
			t.Errorf("%q was taken apart", bad)
		}
	}
}

func TestSplitDead(t *testing.T) {
	n := events.DefaultNames()
	channel, enc, ok := wire.SplitDead(n, wire.DeadLetter(n, "erp_db", "=2E"))
	if !ok || channel != "erp_db" || enc != "=2E" {
		t.Errorf("= %q, %q, %t", channel, enc, ok)
	}
	for _, bad := range []string{"", "sync.dead.c.1.1", "sync.dead.c.1.1.k.more", "sync.upd.c.1.1.k", "other.dead.c.1.1.k"} {
		if _, _, ok := wire.SplitDead(n, bad); ok {
			t.Errorf("%q was taken apart", bad)
		}
	}
}

func TestServiceAck(t *testing.T) {
	n := events.DefaultNames()
	long := strings.Repeat("x", 200)
	for _, pair := range [][2]string{{"billing", "7"}, {"b", "a_=-Z"}, {"svc", long}} {
		subject, err := n.ServiceAck(pair[0], pair[1])
		if err != nil {
			t.Errorf("%q: %v", pair, err)
		} else if !wire.ReplyAllowed(n, subject) {
			t.Errorf("%s is made for acks, but none may be sent to it", subject)
		}
	}
	for _, pair := range [][2]string{{"", "7"}, {"b", ""}, {"a.b", "7"}, {"b", "*"}, {"b", ">"}, {"b", "a b"}, {"b", long + "x"}, {long, long}} {
		if subject, err := n.ServiceAck(pair[0], pair[1]); !errors.Is(err, events.ErrName) {
			t.Errorf("%q = %s, %v, want ErrName", pair, subject, err)
		}
	}
}

func TestServiceAcksRefusesWildcards(t *testing.T) {
	for _, bad := range []string{"", "*", ">", "a.b", "a b"} {
		if filter, err := events.DefaultNames().ServiceAcks(bad); !errors.Is(err, events.ErrName) {
			t.Errorf("%q = %s, %v, want ErrName", bad, filter, err)
		}
	}
}

func TestReplyAllowed(t *testing.T) {
	n := events.DefaultNames()
	for subject, want := range map[string]bool{
		"_INBOX.abc":                         true,
		"_INBOX_worker.abc.def":              true,
		nats.NewInbox():                      true,
		"sync.acks.billing.7":                true,
		"":                                   false,
		"_INBOX":                             false,
		"_INBOX.":                            false,
		"_INBOX..a":                          false,
		"_INBOX.*":                           false,
		"_INBOX.>":                           false,
		"_INBOX.a b":                         false,
		"_INBOX.a\r\nPUB x 1":                false,
		"_INBOX." + strings.Repeat("x", 300): false,
		"_inbox.abc":                         false,
		"x_INBOX.abc":                        false,
		"sync.acks.billing":                  false,
		"sync.acks.billing.7.8":              false,
		"sync.acks.*.7":                      false,
		"sync.acks.billing.>":                false,
		"sync.updates.erp_db.p-1":            false,
		"sync.out.erp_db.0":                  false,
		"other.acks.billing.7":               false,
		"$JS.API.STREAM.DELETE.SYNC_DEAD":    false,
		"$KV.sync_channels.erp_db":           false,
		"$SYS.REQ.SERVER.PING":               false,
	} {
		if got := wire.ReplyAllowed(n, subject); got != want {
			t.Errorf("ReplyAllowed(%q) = %t", subject, got)
		}
	}
}

func FuzzReplyAllowed(f *testing.F) {
	for _, s := range []string{"_INBOX.a", "_INBOX_x.a.b", "sync.acks.s.1", "sync.updates.c.k", "$JS.API.INFO", "_INBOX.>", "_INBOX..", "\x00._INBOX"} {
		f.Add(s)
	}
	allowed := regexp.MustCompile(`^(_INBOX[!-~]*\.[!-~]+|sync\.acks\.[^.]+\.[^.]+)$`)
	n := events.DefaultNames()
	f.Fuzz(func(t *testing.T, subject string) {
		if !wire.ReplyAllowed(n, subject) {
			return
		}
		if !allowed.MatchString(subject) || strings.ContainsAny(subject, "*> \t\r\n\x00") || len(subject) > 255 {
			t.Fatalf("ReplyAllowed(%q)", subject)
		}
		for token := range strings.SplitSeq(subject, ".") {
			if token == "" {
				t.Fatalf("ReplyAllowed(%q) with an empty token", subject)
			}
		}
	})
}
