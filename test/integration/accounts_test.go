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

<<<<<<< HEAD
// replyTargets are reply subjects by which a role could write, delete or deceive with the
// server's rights.
func replyTargets() []string {
	return []string{
		"$KV.sync_tokens.token.0123456789ab.evil", "$KV.sync_tokens.revoked.0123456789ab.evil", "$KV.sync_channels.evil", "$KV.sync_channels.portal",
		"$KV.sync_ledger.portal.1.5.evil", "$KV.sync_ledger.other.1.5.evil", "$KV.sync_leases.99", "$KV.sync_installation.incarnation", "$KV.sync_idempotency.evil",
		"$KV.sync_progress.other.1.0", "$KV.sync_letters.other.evil", "sync.audit.channel", "sync.updates.portal.evil", "sync.updates.other.evil", "sync.upd.portal.1.1.evil",
		"sync.out.other.692a1b2c00000001.0", "sync.dead.other.1.1.evil", "sync.parked.other.1.1.evil", "sync.acks.billing.evil", "sync.ctl.portal.0",
		"$JS.API.STREAM.DELETE.SYNC_PARKED", "$JS.API.STREAM.PURGE.SYNC_DEAD", "$JS.API.STREAM.PURGE.SYNC_UPD_other", "$JS.API.STREAM.MSG.DELETE.SYNC_UPD_other",
		"$JS.API.STREAM.CREATE.EVIL", "$JS.API.CONSUMER.DELETE.SYNC_ACKS.svc-billing", "$JS.ACK.SYNC_ACKS.svc-billing.1.1.1.1.0", "_R_.evil", "$SYS.REQ.ACCOUNT.PING", "sync.adm.http",
		"_INBOX_admin.evil.1", "_INBOX_worker.evil.1", "_INBOX_publisher.evil.1", "_INBOX_gateway.evil.1", "_INBOX_publisher-mine.evil.1",
	}
}

// holdings are what lies at a broker: of each stream the subjects and the last sequence,
// and its consumers.
type holdings map[string]holding

type holding struct {
	subjects  map[string]uint64
	last      uint64
	consumers []string
}

func (g *guarded) holdings(js jetstream.JetStream) holdings {
	g.t.Helper()
	out := holdings{}
	list := js.ListStreams(g.t.Context())
	for info := range list.Info() {
		stream, err := js.Stream(g.t.Context(), info.Config.Name)
		testkit.Must(g.t, err)
		full, err := stream.Info(g.t.Context(), jetstream.WithSubjectFilter(">"))
		testkit.Must(g.t, err)
		h := holding{subjects: full.State.Subjects, last: full.State.LastSeq}
		names := stream.ConsumerNames(g.t.Context())
		for name := range names.Name() {
			h.consumers = append(h.consumers, name)
		}
		testkit.Must(g.t, names.Err())
		slices.Sort(h.consumers)
		out[info.Config.Name] = h
	}
	testkit.Must(g.t, list.Err())
	return out
}

// beyond returns what differs from before that the role may not do by itself.
func (after holdings) beyond(before holdings, may func(subject string) bool) (out []string) {
	for name, was := range before {
		is, there := after[name]
		if !there {
			out = append(out, name+" is gone")
			continue
		}
		writes := false
		for subject := range is.subjects {
			if may(subject) {
				writes = true
			} else if was.subjects[subject] == 0 {
				out = append(out, name+": "+subject+" was written")
			}
		}
		for subject := range was.subjects {
			if is.subjects[subject] == 0 {
				out = append(out, name+": "+subject+" is gone")
			}
		}
		if !writes && is.last != was.last {
			out = append(out, fmt.Sprintf("%s: %d messages were written", name, is.last-was.last))
		}
		for _, consumer := range was.consumers {
			if !slices.Contains(is.consumers, consumer) {
				out = append(out, name+": consumer "+consumer+" is gone")
			}
		}
	}
	for name := range after {
		if _, there := before[name]; !there {
			out = append(out, name+" was made")
		}
	}
	slices.Sort(out)
	return out
}

// attack has a role publish on everything that it may, with every reply subject, and
// returns what that did beyond what the role may do.
func (g *guarded) attack(role brokerconfig.Role, channels ...string) (tried int, did []string) {
	t := g.t
	t.Helper()
	admin, err := broker.Connect(t.Context(), g.nats(brokerconfig.Admin), zerolog.Nop())
	testkit.Must(t, err)
	defer admin.Close()
	js, err := jetstream.New(admin)
	testkit.Must(t, err)
	heard := map[brokerconfig.Role]*nats.Subscription{}
	for _, other := range append(brokerconfig.Roles(), groupRole) {
		if other == role || role == brokerconfig.Worker { // a worker sends acks to the others' inboxes
			continue
		}
		nc, err := broker.Connect(t.Context(), g.nats(other), zerolog.Nop())
		testkit.Must(t, err)
		defer nc.Close()
		heard[other], err = nc.SubscribeSync(other.InboxPrefix() + ".evil.>")
		testkit.Must(t, err)
		testkit.Must(t, nc.Flush())
	}
	attacker, err := broker.Connect(t.Context(), g.nats(role), zerolog.Nop())
	testkit.Must(t, err)
	defer attacker.Close()

	var administrator *process
	token := ""
	if role == brokerconfig.Gateway { // others do not reach it
		administrator, _ = g.administrator()
		token, _ = g.token(g.signer(), "admin")
	}
	before := g.holdings(js)
	scope := brokerconfig.Scope{
		Names: events.DefaultNames(), Channels: channels, Services: []string{"billing"}, Groups: []brokerconfig.Group{{Name: "mine", Channels: []string{"portal"}}},
	}
	may := scope.Permissions(role).Publish
	for _, pattern := range may {
		subject := strings.NewReplacer(".*", ".x", ".>", ".x").Replace(pattern)
		for _, reply := range replyTargets() {
			tried++
			// As a request, as a question for the last message, and as one to delete or to purge
			// what is not there: each has an answer.
			body := `{"last_by_subj":">","seq":999999,"filter":"sync.nothing"}`
			switch {
			case strings.Contains(subject, ".MSG.GET."), strings.Contains(subject, "DIRECT.GET."):
				body = `{"last_by_subj":">"}`
			case strings.Contains(subject, "CONSUMER.CREATE."):
				stream := strings.Split(subject, ".")[4]
				body = fmt.Sprintf(`{"stream_name":%q,"config":{"name":"x","deliver_subject":%q,"ack_policy":"none","mem_storage":true}}`, stream, reply)
			case strings.Contains(subject, "CONSUMER.MSG.NEXT."):
				body = `{"batch":1,"no_wait":true}`
			}
			msg := &nats.Msg{Subject: subject, Reply: reply, Data: []byte(body), Header: nats.Header{}}
			if subject == scope.Names.Administration() {
				msg.Header.Set("Extsync-Method", http.MethodGet)
				msg.Header.Set("Extsync-Path", "/v1/channels/portal")
				msg.Header.Set("Authorization", "Bearer "+token)
			}
			testkit.Must(t, attacker.PublishMsg(msg))
		}
	}
	testkit.Must(t, attacker.Flush())
	if administrator != nil {
		g.end(administrator, "") // it has answered
	}
	// What came before this has been taken by the servers, and answered.
	_, err = js.Publish(t.Context(), "sync.acks.other.barrier", nil)
	testkit.Must(t, err)
	ownMay := func(subject string) bool {
		return subject == "sync.acks.other.barrier" || slices.ContainsFunc(may, func(p string) bool {
			return broker.Within(publishedOn(subject), p) || broker.Within(subject, p)
		})
	}
	after := g.holdings(js)
	did = after.beyond(before, ownMay)
	for other, sub := range heard {
		if n, _, err := sub.Pending(); err != nil || n > 0 {
			did = append(did, fmt.Sprintf("%d messages came to the inbox of the %s, %v", n, other, err))
		}
	}
	return tried, did
}

// publishedOn returns the subject that an update was published on.
func publishedOn(subject string) string {
	channel, enc, ok := events.DefaultNames().SplitStoredUpdate(subject)
	if !ok {
		return subject
	}
	return events.DefaultNames().Update(channel, enc)
}

func (g *guarded) fill() {
	g.t.Helper()
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, "http://127.0.0.1:9/")+`
  - name: other
    connector: {kind: http, config: {url: "http://127.0.0.1:9/", allow_cidrs: [127.0.0.0/8]}}
`)
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(g.t)
	g.program(brokerconfig.Admin, "extsync", "services", "add", "billing").ok(g.t)
	g.program(brokerconfig.Admin, "extsync", "tokens", "create", "portal", "--scope", "read", "--admin-key", filepath.Join(g.dir, brokerconfig.SignerDir, brokerconfig.AdminKeyFile)).ok(g.t)
	// What a role has published is what it has the server answer. This one passes for a
	// request without arguments, such as that to delete a stream.
	g.program(brokerconfig.Publisher, "publisher", "push", "portal", "p-1", "1", "--data", `{}`).ok(g.t)
	g.program(brokerconfig.Admin, "publisher", "push", "other", "p-1", "1", "--data", `{}`).ok(g.t)
}

=======
>>>>>>> 746021b (Try the attack by reply subjects in a cluster, too)
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
