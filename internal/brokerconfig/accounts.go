package brokerconfig

import (
	"slices"
	"strings"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/wire"
)

// owner is the account that owns the streams.
const owner = "EXTSYNC"

// An Account is one trust domain. What a client asks the server to answer, the server
// writes with its own rights to whatever reply subject the client has named; across an
// import it writes that in the client's own account, where no stream listens.
type Account struct {
	Name      string
	JetStream bool
	Users     []User
	Exports   []Export
	Imports   []Import
}

// An Export offers subjects of an account to others: a service, which takes messages, or a
// stream, which is heard.
type Export struct {
	Service bool
	Subject string
	To      []string
	Several bool // a request has several answers
}

// An Import is what an account takes of another.
type Import struct {
	Service bool
	From    string
	Subject string
}

// Accounts returns the accounts for the template.
func (o *Options) Accounts() []Account {
	var accounts []Account
	for _, r := range slices.Concat([]Role{Admin}, o.publishers(), []Role{Gateway, Worker}) {
		a := Account{Name: r.Account(), JetStream: r == Admin, Users: o.users(r)}
		switch r {
		case Admin:
			a.Exports = o.ownerExports()
			a.Imports = []Import{
				{true, Worker.Account(), o.Names.Prefix() + ".ctl.*.*"},
				{false, Worker.Account(), Admin.InboxPrefix() + ".>"},
			}
		case Worker:
			a.Exports = o.workerExports()
			a.Imports = o.imports(r)
		default:
			a.Imports = append(o.imports(r), Import{false, Worker.Account(), r.InboxPrefix() + ".>"})
		}
		accounts = append(accounts, a)
	}
	return accounts
}

// ownerExports returns what others may import of the owner. What each of them may do is
// said by its imports. No two overlap: which of two says how many answers there are would
// be left to chance. No stream of them is one that JetStream stores: who may make consumers
// could deliver onto a subject that somebody listens to.
func (o *Options) ownerExports() []Export {
	gateway, worker := Gateway.Account(), Worker.Account()
	clients := append(accountsOf(o.publishers()), gateway) // who publishes
	all := append(slices.Clone(clients), worker)
	service := func(subject string, to ...string) Export { return Export{Service: true, Subject: subject, To: to} }
	next := service("$JS.API.CONSUMER.MSG.NEXT.>", all...)
	next.Several = true
	return []Export{
		// Else each account has an API of its own that says JetStream is not enabled.
		service("$JS.API.INFO", all...),
		service("$JS.API.STREAM.>", all...),
		service("$JS.API.DIRECT.GET.>", clients...),
		service("$JS.API.CONSUMER.INFO.>", all...),
		service("$JS.API.CONSUMER.LIST.*", gateway),
		service("$JS.API.CONSUMER.NAMES.*", worker),
		service("$JS.API.CONSUMER.CREATE.>", worker),
		service("$JS.API.CONSUMER.DELETE.>", worker),
		next,
		service("$JS.ACK.>", all...),
		service("$KV.>", gateway, worker),
		service(o.Names.Prefix()+".>", all...),
		{Subject: o.heard(), To: all},
	}
}

// workerExports returns what others hear of workers, and ask them. Acks come to the inboxes
// of one account each: nobody else hears them.
func (o *Options) workerExports() []Export {
	gateway := Gateway.Account()
	out := []Export{{Service: true, Subject: o.Names.Prefix() + ".ctl.*.*", To: []string{owner}}}
	for _, r := range slices.Concat([]Role{Admin}, o.publishers(), []Role{Gateway}) {
		out = append(out, Export{Subject: r.InboxPrefix() + ".>", To: []string{r.Account()}})
	}
	out = append(out, Export{Subject: wire.AckSubjects(o.Names), To: []string{gateway}})
	for _, channel := range o.Channels {
		theirs := slices.DeleteFunc(o.publishers(), func(r Role) bool { return !slices.Contains(o.of(r).Channels, channel) })
		out = append(out, Export{Subject: wire.LedgerRecords(o.Names, channel), To: append(accountsOf(theirs), gateway)})
	}
	return out
}

func accountsOf(roles []Role) []string {
	out := make([]string, len(roles))
	for i, r := range roles {
		out[i] = r.Account()
	}
	return out
}

func (o *Options) heard() string { return wire.Heard(o.Names, wire.RegistryBucket(o.Names)) }

// imports returns what a role's account takes of others, by the role's permissions.
func (o *Options) imports(r Role) []Import {
	p := o.Permissions(r)
	services := []string{"$JS.API.INFO"}
	for _, subject := range p.Publish {
		if !strings.HasPrefix(subject, "_INBOX") && !strings.HasPrefix(subject, "$SYS.") {
			services = append(services, subject)
		}
	}
	var out []Import
	for _, subject := range uncovered(services) {
		out = append(out, Import{true, owner, subject})
	}
	for _, subject := range uncovered(p.Subscribe) {
		switch {
		case subject == o.heard():
			out = append(out, Import{false, owner, subject})
		case subject == wire.AckSubjects(o.Names), broker.Within(subject, wire.KVSubject(wire.LedgerBucket(o.Names), ">")):
			// Straight from the workers: what they store through an import is heard by
			// nobody in the owner's account but its own users.
			out = append(out, Import{false, Worker.Account(), subject})
		}
	}
	return out
}

// uncovered leaves out each subject that another one covers: of two imports that match a
// message both take it, and it would be stored twice.
func uncovered(subjects []string) []string {
	subjects = slices.Compact(slices.Sorted(slices.Values(subjects)))
	return slices.DeleteFunc(slices.Clone(subjects), func(s string) bool {
		return slices.ContainsFunc(subjects, func(other string) bool { return other != s && broker.Within(s, other) })
	})
}

// users returns the keys of a role.
func (o *Options) users(r Role) []User {
	users := []User{{Role: r, Key: o.Keys[r], Permissions: o.Permissions(r)}}
	if old := o.OldKeys[r]; old != "" {
		users = append(users, User{Role: r, Key: old, Old: true, Permissions: o.Permissions(r)})
	}
	return users
}
