// Package brokerconfig writes the configuration of a NATS server that lets each
// process of extsync do what it must, and nothing else.
package brokerconfig

import (
	"slices"
	"strings"

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
	// Services whose kept acks publishers read, see events.ServiceAcks.
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

func (s Scope) publisher() Permissions {
	n := s.Names
	g := grants{names: n}
	g.readBucket(n.RegistryBucket())
	g.hear(n.RegistryBucket())
	g.readBucket(n.LedgerBucket())
	g.readBucket(n.ProgressBucket())
	g.readBucket(n.InstallationBucket())
	g.readBucket(n.WorkersBucket()) // why an update waits
	// The delivery history of its channels.
	g.api("STREAM.INFO", n.OutcomeStream())
	g.api("STREAM.MSG.GET", n.OutcomeStream())
	for _, channel := range s.Channels {
		stream := n.UpdateStream(channel)
		g.publish(n.Update(channel, "*"))
		g.api("STREAM.INFO", stream)
		g.api("STREAM.MSG.GET", stream)
		g.api("DIRECT.GET", stream)
		g.api("DIRECT.GET", stream, n.StoredUpdates(channel))
		g.p.Subscribe = append(g.p.Subscribe, n.LedgerRecords(channel))
	}
	if len(s.Services) > 0 {
		g.api("STREAM.MSG.GET", n.AckStream())
	}
	for _, service := range s.Services {
		consumer := "svc-" + service // an administrator has made it, see events.AddService
		g.api("CONSUMER.INFO", n.AckStream(), consumer)
		g.api("CONSUMER.MSG.NEXT", n.AckStream(), consumer)
		g.publish("$JS.ACK." + n.AckStream() + "." + consumer + ".>")
	}
	return g.p
}

// gateway is publisher, and what the HTTP API has beyond it: tokens, answers that
// are repeated, and reading on behalf of people. It may not write the audit log,
// without which the API changes nothing, but ask an administrator.
func (s Scope) gateway() Permissions {
	n := s.Names
	g := grants{s.publisher(), n}
	g.readBucket(n.TokensBucket())
	g.readBucket(n.IdempotencyBucket())
	g.publish(events.KVSubject(n.IdempotencyBucket(), ">"))
	for _, stream := range []string{n.ParkedStream(), n.DeadStream()} {
		g.api("STREAM.INFO", stream)
		g.api("STREAM.MSG.GET", stream)
	}
	g.api("STREAM.INFO", n.AuditStream()) // to see that the broker is provisioned
	g.readBucket(n.LettersBucket())
	// Which service's acks a token may read is for the API to say.
	g.api("STREAM.INFO", n.AckStream())
	g.api("STREAM.MSG.GET", n.AckStream())
	g.p.Subscribe = append(g.p.Subscribe, n.AckSubjects())
	g.publish(n.Administration()) // what it may not do itself
	for _, channel := range s.Channels {
		g.api("CONSUMER.LIST", n.UpdateStream(channel)) // what is undelivered
	}
	return g.p
}

func (s Scope) worker() Permissions {
	n := s.Names
	g := grants{names: n}
	for _, bucket := range []string{n.RegistryBucket(), n.LedgerBucket(), n.ProgressBucket(), n.WorkersBucket(), n.LeasesBucket(), n.LettersBucket(), n.InstallationBucket()} {
		g.readBucket(bucket)
	}
	g.hear(n.RegistryBucket())
	for _, shared := range []string{n.WorkersBucket(), n.LeasesBucket()} {
		g.publish(events.KVSubject(shared, ">"))
	}
	for _, stream := range []string{n.OutcomeStream(), n.ParkedStream(), n.DeadStream()} {
		g.api("STREAM.INFO", stream)
		g.api("STREAM.MSG.GET", stream)
	}
	g.api("STREAM.MSG.DELETE", n.DeadStream())
	g.api("STREAM.MSG.DELETE", n.ParkedStream())
	g.api("STREAM.PURGE", n.ParkedStream())
	for _, channel := range s.Channels {
		stream := n.UpdateStream(channel)
		g.api("STREAM.INFO", stream)
		g.api("STREAM.MSG.GET", stream)
		g.api("STREAM.MSG.DELETE", stream)
		g.api("CONSUMER.NAMES", stream)
		// A consumer of all, as of the only partition, and one of several filters, as of a
		// resync of some keys, name none in the request.
		g.readers(stream, "")
		g.readers(stream, n.StoredUpdates(channel))
		g.publish("$JS.ACK." + stream + ".>")
		g.publish(n.OutcomesOf(channel), n.ParkedFilter(channel), n.DeadFilter(channel),
			n.LedgerRecords(channel), events.KVSubject(n.ProgressBucket(), channel+".>"),
			events.KVSubject(n.LettersBucket(), channel+".*"))
		g.readers(n.ParkedStream(), n.ParkedFilter(channel))
		g.readers(n.DeadStream(), n.DeadFilter(channel))
		g.p.Subscribe = append(g.p.Subscribe, n.Prefix()+".ctl."+channel+".*")
	}
	// Acks. Answers to administrators go where their requests say.
	g.publish(n.AckSubjects(), Gateway.InboxPrefix()+".>", Admin.InboxPrefix()+".>")
	for _, r := range s.publishers() {
		g.publish(r.InboxPrefix() + ".>")
	}
	return g.p
}

func (s Scope) admin() Permissions {
	ours, records := s.Names.Prefix()+".>", events.KVSubject(s.Names.LedgerBucket(), ">")
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
	g.api("STREAM.INFO", events.KVStream(bucket))
	g.api("STREAM.MSG.GET", events.KVStream(bucket))
}

// hear allows to hear which keys of a bucket are written.
func (g *grants) hear(bucket string) {
	g.p.Subscribe = append(g.p.Subscribe, g.names.Heard(bucket))
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
