// Package brokerconfig writes the configuration of a NATS server that lets each
// process of extsync do what it must, and nothing else.
package brokerconfig

import (
	"slices"
	"strings"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Role is what a process is to the broker.
type Role string

// The roles.
const (
	// Publisher publishes updates of the given channels, and reads what became of
	// them: a platform service that speaks NATS.
	Publisher Role = "publisher"
	// Gateway serves the HTTP API of the given channels to those who publish and
	// read: 'publisher serve'. What changes channels or dead letters it has done by one in
	// the role admin.
	Gateway Role = "gateway"
	// Worker delivers the given channels.
	Worker Role = "worker"
	// Admin makes and changes streams and channels: it may do everything that
	// concerns extsync. A 'publisher serve' in this role serves administrators, too, also
	// those that ask at a gateway.
	Admin Role = "admin"
)

// Roles returns the roles that there always are.
func Roles() []Role { return []Role{Publisher, Gateway, Worker, Admin} }

// InboxPrefix is where replies to a role come back. Each role may listen to its
// own only: what the broker answers to one is hidden from the others.
func (r Role) InboxPrefix() string { return "_INBOX_" + string(r) }

// Account returns the account that a role's users are in. The administrators' one owns the
// streams; the others get from it, and from the workers', what their role needs.
func (r Role) Account() string {
	if r == Admin {
		return owner
	}
	return strings.ReplaceAll(strings.ToUpper(string(r)), "-", "_")
}

// Permissions are the subjects that a role may use, with NATS wildcards.
type Permissions struct {
	Publish, Subscribe []string
}

// A Scope is what the roles are made for.
type Scope struct {
	Names events.Names
	// Channels that publishers publish to and workers deliver.
	Channels []string
	// Topics that publishers publish to and the channels of workers read.
	Topics []string
	// Services whose kept acks publishers read, see publish.ServiceAcks.
	Services []string
	// Groups of publishers with accounts of their own.
	Groups []Group
}

// Permissions returns what a role needs, and nothing else.
func (s Scope) Permissions(role Role) Permissions {
	var p Permissions
	switch role {
	default: // a group of publishers, or all of them
		p = s.of(role).publisher()
	case Gateway:
		p = s.gateway()
	case Worker:
		p = s.worker()
	case Admin:
		p = s.admin()
	}
	p.Publish = append(p.Publish, "$SYS.REQ.USER.INFO") // what it may do itself, for doctor
	p.Subscribe = append(p.Subscribe, role.InboxPrefix()+".>")
	slices.Sort(p.Publish)
	slices.Sort(p.Subscribe)
	p.Publish = slices.Compact(p.Publish)
	return p
}

// routes returns where updates are published.
func (s Scope) routes() []events.Route {
	out := make([]events.Route, 0, len(s.Channels)+len(s.Topics))
	for _, channel := range s.Channels {
		out = append(out, events.ToChannel(channel))
	}
	for _, topic := range s.Topics {
		out = append(out, events.ToTopic(topic))
	}
	return out
}

func (s Scope) publisher() Permissions {
	n := s.Names
	g := grants{names: n}
	g.readBucket(wire.RegistryBucket(n))
	g.hear(wire.RegistryBucket(n))
	g.readBucket(wire.LedgerBucket(n))
	g.readBucket(wire.ProgressBucket(n))
	g.readBucket(wire.InstallationBucket(n))
	g.readBucket(wire.WorkersBucket(n)) // why an update waits
	// The delivery history of its channels.
	g.api("STREAM.INFO", wire.OutcomeStream(n))
	g.api("STREAM.MSG.GET", wire.OutcomeStream(n))
	for _, route := range s.routes() {
		stream := wire.UpdateStream(n, route)
		g.publish(n.Update(route, "*"))
		g.api("STREAM.INFO", stream)
		g.api("STREAM.MSG.GET", stream)
		g.api("DIRECT.GET", stream)
		g.api("DIRECT.GET", stream, wire.StoredUpdates(n, route))
	}
	for _, channel := range s.Channels {
		g.p.Subscribe = append(g.p.Subscribe, wire.LedgerRecords(n, channel))
	}
	if len(s.Services) > 0 {
		g.api("STREAM.MSG.GET", wire.AckStream(n))
	}
	for _, service := range s.Services {
		consumer := "svc-" + service // an administrator has made it, see publish.AddService
		g.api("CONSUMER.INFO", wire.AckStream(n), consumer)
		g.api("CONSUMER.MSG.NEXT", wire.AckStream(n), consumer)
		g.publish("$JS.ACK." + wire.AckStream(n) + "." + consumer + ".>")
	}
	return g.p
}

// gateway is publisher, and what the HTTP API has beyond it: tokens, answers that
// are repeated, and reading on behalf of people. It may not write the audit log,
// without which the API changes nothing, but ask an administrator.
func (s Scope) gateway() Permissions {
	n := s.Names
	g := grants{s.publisher(), n}
	g.readBucket(wire.TokensBucket(n))
	g.readBucket(wire.SessionsBucket(n))
	g.readBucket(wire.IdempotencyBucket(n))
	g.publish(wire.KVSubject(wire.IdempotencyBucket(n), ">"))
	for _, stream := range []string{wire.ParkedStream(n), wire.DeadStream(n)} {
		g.api("STREAM.INFO", stream)
		g.api("STREAM.MSG.GET", stream)
	}
	g.api("DIRECT.GET", wire.DeadStream(n))   // to count dead letters
	g.api("STREAM.INFO", wire.AuditStream(n)) // to see that the broker is provisioned
	g.readBucket(wire.LettersBucket(n))
	g.readBucket(wire.JobsBucket(n)) // to show them
	// Which service's acks a token may read is for the API to say.
	g.api("STREAM.INFO", wire.AckStream(n))
	g.api("STREAM.MSG.GET", wire.AckStream(n))
	g.p.Subscribe = append(g.p.Subscribe, wire.AckSubjects(n))
	g.publish(wire.Administration(n)) // what it may not do itself
	for _, route := range s.routes() {
		g.api("CONSUMER.LIST", wire.UpdateStream(n, route)) // what is undelivered
	}
	return g.p
}

func (s Scope) worker() Permissions {
	n := s.Names
	g := grants{names: n}
	for _, bucket := range []string{wire.RegistryBucket(n), wire.LedgerBucket(n), wire.ProgressBucket(n), wire.WorkersBucket(n), wire.LeasesBucket(n), wire.LettersBucket(n), wire.InstallationBucket(n)} {
		g.readBucket(bucket)
	}
	g.hear(wire.RegistryBucket(n))
	for _, shared := range []string{wire.WorkersBucket(n), wire.LeasesBucket(n)} {
		g.publish(wire.KVSubject(shared, ">"))
	}
	for _, stream := range []string{wire.OutcomeStream(n), wire.ParkedStream(n), wire.DeadStream(n)} {
		g.api("STREAM.INFO", stream)
		g.api("STREAM.MSG.GET", stream)
	}
	g.api("STREAM.MSG.DELETE", wire.DeadStream(n))
	g.api("STREAM.MSG.DELETE", wire.ParkedStream(n))
	g.api("STREAM.PURGE", wire.ParkedStream(n))
	for _, route := range s.routes() {
		stream := wire.UpdateStream(n, route)
		g.api("STREAM.INFO", stream)
		g.api("STREAM.MSG.GET", stream)
		g.api("STREAM.MSG.DELETE", stream)
		g.api("CONSUMER.NAMES", stream)
		// A consumer of all, as of the only partition, and one of several filters, as of a
		// resync of some keys, name none in the request.
		g.readers(stream, "")
		g.readers(stream, wire.StoredUpdates(n, route))
		g.publish("$JS.ACK." + stream + ".>")
	}
	for _, topic := range s.Topics { // in place of what clients do not hand out
		g.publish(n.Update(events.ToTopic(topic), "*"))
	}
	for _, channel := range s.Channels {
		g.publish(wire.OutcomesOf(n, channel), wire.ParkedFilter(n, channel), wire.DeadFilter(n, channel),
			wire.LedgerRecords(n, channel), wire.KVSubject(wire.ProgressBucket(n), channel+".>"),
			wire.KVSubject(wire.LettersBucket(n), channel+".*"))
		g.readers(wire.ParkedStream(n), wire.ParkedFilter(n, channel))
		g.readers(wire.DeadStream(n), wire.DeadFilter(n, channel))
		g.p.Subscribe = append(g.p.Subscribe, n.Prefix()+".ctl."+channel+".*")
	}
	// Acks. Answers to administrators go where their requests say.
	g.publish(wire.AckSubjects(n), Gateway.InboxPrefix()+".>", Admin.InboxPrefix()+".>")
	for _, r := range s.publishers() {
		g.publish(r.InboxPrefix() + ".>")
	}
	return g.p
}

func (s Scope) admin() Permissions {
	ours, records := s.Names.Prefix()+".>", wire.KVSubject(wire.LedgerBucket(s.Names), ">")
	return Permissions{
		// $JS.SNAPSHOT.> is for backups: what is acknowledged of one, and what is restored.
		Publish:   []string{"$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$JS.SNAPSHOT.>", "$KV.>", ours},
		Subscribe: []string{ours, records, "$JS.EVENT.ADVISORY.>"},
	}
}

// grants collects subjects.
type grants struct {
	p     Permissions
	names events.Names
}

func (g *grants) publish(subjects ...string) { g.p.Publish = append(g.p.Publish, subjects...) }

// api allows a request of the JetStream API: a verb, then what it is about.
func (g *grants) api(verb string, about ...string) {
	subject := "$JS.API." + verb
	for _, token := range about {
		subject += "." + token
	}
	g.publish(subject)
}

// readBucket allows to bind a bucket and to read its keys, from the leader.
func (g *grants) readBucket(bucket string) {
	g.api("STREAM.INFO", wire.KVStream(bucket))
	g.api("STREAM.MSG.GET", wire.KVStream(bucket))
}

// hear allows to hear which keys of a bucket are written.
func (g *grants) hear(bucket string) {
	g.p.Subscribe = append(g.p.Subscribe, wire.Heard(g.names, bucket))
}

// readers allows pull consumers of a stream with one filter; none, if it is "".
func (g *grants) readers(stream, filter string) {
	if filter == "" {
		g.api("CONSUMER.CREATE", stream, "*")
	} else {
		g.api("CONSUMER.CREATE", stream, "*", filter)
	}
	g.api("CONSUMER.INFO", stream, "*")
	g.api("CONSUMER.MSG.NEXT", stream, "*")
	g.api("CONSUMER.DELETE", stream, "*")
}
