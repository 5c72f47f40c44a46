package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

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
	var attackers []*nats.Conn // one at each server
	for url := range strings.SplitSeq(g.url, ",") {
		c := g.nats(role)
		c.URL = url
		nc, err := broker.Connect(t.Context(), c, zerolog.Nop())
		testkit.Must(t, err)
		defer nc.Close()
		attackers = append(attackers, nc)
	}
	var administrator *process
	token := ""
	if role == brokerconfig.Gateway { // others do not reach it
		administrator, _ = g.administrator()
		token, _ = g.token(g.signer(), administrators)
	}
	before := g.holdings(js)
	scope := brokerconfig.Scope{
		Names: events.DefaultNames(), Channels: channels, Services: []string{"billing"}, Groups: []brokerconfig.Group{{Name: "mine", Channels: []string{"portal"}}},
	}
	may := scope.Permissions(role).Publish
	for _, pattern := range may {
		subject := strings.NewReplacer(".*", ".x", ".>", ".x").Replace(pattern)
		for _, reply := range replyTargets() {
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
			if subject == wire.Administration(scope.Names) {
				msg.Header.Set("Extsync-Method", http.MethodGet)
				msg.Header.Set("Extsync-Path", "/v1/channels/portal")
				msg.Header.Set("Authorization", "Bearer "+token)
			}
			for _, attacker := range attackers {
				tried++
				testkit.Must(t, attacker.PublishMsg(msg))
			}
		}
	}
	// A question about each stream is answered after those before it.
	for _, attacker := range attackers {
		for _, subject := range may {
			if strings.HasPrefix(subject, "$JS.API.STREAM.INFO.") {
				_, err := attacker.Request(subject, nil, testkit.Patience)
				testkit.Must(t, err)
			}
		}
	}
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
	channel, enc, ok := wire.SplitStoredUpdate(events.DefaultNames(), subject)
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
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file, "--storage-replicas", fmt.Sprint(max(g.replicas, 1))).ok(g.t)
	g.program(brokerconfig.Admin, "extsync", "services", "add", "billing").ok(g.t)
	g.program(brokerconfig.Admin, "extsync", "tokens", "create", "portal", "--scope", "read", "--admin-key", g.signer()).ok(g.t)
	// What a role has published is what it has the server answer. This one passes for a
	// request without arguments, such as that to delete a stream.
	g.program(brokerconfig.Publisher, "publisher", "push", "portal", "p-1", "1", "--data", `{}`).ok(g.t)
	g.program(brokerconfig.Admin, "publisher", "push", "other", "p-1", "1", "--data", `{}`).ok(g.t)
}

// seesAttack fails the test unless a publisher's attack does what it is feared for.
func (g *guarded) seesAttack() {
	g.t.Helper()
	_, did := g.attack(brokerconfig.Publisher, "portal")
	all := strings.Join(did, "\n")
	for _, want := range []string{"$KV.sync_tokens.token.0123456789ab.evil was written", "$KV.sync_channels.evil was written", "sync.dead.other.1.1.evil was written", "sync.parked.other.1.1.evil was written", "KV_sync_installation: ", "inbox of the admin"} {
		if !strings.Contains(all, want) {
			g.t.Errorf("not seen: %s", want)
		}
	}
}
