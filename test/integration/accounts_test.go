package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
)

// oneAccount returns a configuration with the same users and permissions, all of them in
// one account, as broker-config wrote it once.
func oneAccount(t testing.TB, channels ...string) func(conf string) string {
	t.Helper()
	return func(conf string) string {
		scope := brokerconfig.Scope{Names: events.DefaultNames(), Channels: channels, Services: []string{"billing"}}
		head, accounts, _ := strings.Cut(conf, "accounts {")
		users := ""
		for _, role := range append(brokerconfig.Roles(), groupRole) {
			_, key, _ := strings.Cut(accounts, "its inbox prefix is "+role.InboxPrefix()+"\n")
			_, key, _ = strings.Cut(key, "nkey: ")
			key, _, _ = strings.Cut(key, "\n")
			p := scope.Permissions(role)
			users += fmt.Sprintf("{nkey: %s, permissions {publish {allow: [%q]}, subscribe {allow: [%q]}}}\n", key,
				strings.Join(p.Publish, "\x00"), strings.Join(p.Subscribe, "\x00"))
		}
		users = strings.ReplaceAll(users, `\x00`, `", "`)
		return head + "accounts { SYS {}, EXTSYNC { jetstream: enabled, users: [\n" + users + "] } }\nsystem_account: SYS\n"
	}
}

// The server checks the subject that a client publishes on, and not the reply subject that
// it names: the role publisher made itself administrator with the answer to a read of what
// it had published itself, and removed streams.
func TestReplySubjectsWriteAndDeleteNothing(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal", "--group", "mine:portal")
	g.fill()
	if e := g.program(brokerconfig.Worker, "extsync", "doctor").run(t); !strings.Contains(e.out, "in the account of its role, WORKER") {
		t.Errorf("doctor:\n%s%s", e.out, e.err)
	}
	for _, role := range []brokerconfig.Role{brokerconfig.Publisher, groupRole, brokerconfig.Gateway, brokerconfig.Worker} {
		tried, did := g.attack(role, "portal")
		if len(did) > 0 {
			t.Errorf("%s:\n%s", role, strings.Join(did, "\n"))
		}
		t.Logf("%s: %d attempts", role, tried)
	}
}

// The attack is one: in one account, whatever the permissions, it writes tokens and the
// registry, and deceives administrators.
func TestReplySubjectsInOneAccountMakeAnybodyAdministrator(t *testing.T) {
	t.Parallel()
	g := newGuardedBy(t, "portal", oneAccount(t, "portal"), "--group", "mine:portal")
	g.fill()
	if e := g.program(brokerconfig.Worker, "extsync", "doctor").run(t); !strings.Contains(e.out, "every client of this broker is an administrator, whatever its permissions") {
		t.Errorf("doctor:\n%s%s", e.out, e.err)
	}
	g.seesAttack()
}

// groupRole is that of a group of publishers that tests make.
const groupRole brokerconfig.Role = "publisher-mine"

// A group of publishers gets at its channels and hears its own acks, and nobody else does.
func TestGroupOfPublishersIsByItself(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal,other", "--group", "mine:portal", "--group", "theirs:portal,other:billing")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, target(t, func(http.ResponseWriter, *http.Request) {})))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	g.program(brokerconfig.Worker, "connector-worker", "run").start(t)

	const theirs brokerconfig.Role = "publisher-theirs"
	others := map[string]*nats.Subscription{}
	for role, subjects := range map[brokerconfig.Role][]string{
		theirs:                 {theirs.InboxPrefix() + ".>", "$KV.sync_ledger.other.*.*.*"},
		brokerconfig.Publisher: {brokerconfig.Publisher.InboxPrefix() + ".>"},
		brokerconfig.Gateway:   {brokerconfig.Gateway.InboxPrefix() + ".>"},
	} {
		nc, err := broker.Connect(t.Context(), g.nats(role), zerolog.Nop())
		testkit.Must(t, err)
		defer nc.Close()
		for _, subject := range subjects {
			others[string(role)+" "+subject], err = nc.SubscribeSync(subject)
			testkit.Must(t, err)
		}
		testkit.Must(t, nc.Flush())
	}
	g.program(groupRole, "publisher", "push", "portal", "p-1", "1", "--data", `{}`, "--wait", "30s").ok(t)
	g.program(theirs, "publisher", "push", "portal", "p-1", "2", "--base", "1", "--data", `{}`, "--wait", "30s").ok(t)
	if e := g.program(groupRole, "publisher", "push", "other", "p-1", "1", "--data", `{}`).run(t); e.code != cli.ExitBroker || !strings.Contains(e.err, "the permission to publish to") {
		t.Errorf("a channel of others: %+v", e)
	}
	for what, sub := range others {
		if n, _, err := sub.Pending(); (err != nil || n > 0) && !strings.HasPrefix(what, string(theirs)+" _INBOX") {
			t.Errorf("%s: %d messages, %v", what, n, err)
		}
	}
	if e := g.program(groupRole, "extsync", "doctor").run(t); !strings.Contains(e.out, "in the account of its role, PUBLISHER_MINE") || strings.Contains(e.out, "may not publish to sync.updates") {
		t.Errorf("doctor:\n%s%s", e.out, e.err)
	}
}
