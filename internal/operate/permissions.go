package operate

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	advicePermission = "write the broker's configuration again ('extsync broker-config --registry', with the flags of the first time) and have it read ('nats-server --signal reload'), or connect as another role"
	adviceInbox      = "give the inbox prefix of the role whose key this is (--nats-inbox-prefix _INBOX_admin, for one); 'extsync broker-config' lists them"
)

// permissions compares what the broker lets this connection do with what its
// role needs. It returns false if nothing more can be asked of the broker: the
// other checks would wait for answers that do not come.
func (d *doctor) permissions(ctx context.Context) (goOn bool) {
	access, err := broker.ReadAccess(ctx, d.c.Conn)
	switch {
	case errors.Is(err, broker.ErrDeaf):
		d.add(LevelProblem, "permissions", "", words.Of(err)+": no request is answered", adviceInbox)
		return false
	case errors.Is(err, broker.ErrRefused):
		d.add(LevelWarning, "permissions", "", "cannot be looked at: "+words.Of(err), advicePermission)
		return d.role == brokerconfig.Admin
	case err != nil:
		d.add(LevelWarning, "permissions", "", "cannot be looked at: "+words.Of(err), "give the server a system account (system_account in its configuration)")
		return d.role == brokerconfig.Admin
	}
	d.accounts(access)
	if !access.Restricted() {
		d.add(LevelOK, "permissions", "role "+string(d.role), "none is missing: the broker restricts nobody here", "")
		return true
	}
	missing := d.missing(access, "", brokerconfig.Scope{Names: d.c.Names})
	if names, topics, ok := d.routes(ctx, access); ok {
		for _, name := range names {
			if d.role.IsGroup() && !access.Publish.Has(d.c.Names.Update(events.ToChannel(name), "*")) {
				continue // none of the group's
			}
			missing = d.missing(access, "channel "+name, brokerconfig.Scope{Names: d.c.Names, Channels: []string{name}}) || missing
		}
		for _, topic := range topics {
			if d.role.IsGroup() && !access.Publish.Has(d.c.Names.Update(events.ToTopic(topic), "*")) {
				continue
			}
			missing = d.missing(access, "topic "+topic, brokerconfig.Scope{Names: d.c.Names, Topics: []string{topic}}) || missing
		}
	}
	if !missing {
		d.add(LevelOK, "permissions", "role "+string(d.role), "none is missing to "+access.User, "")
	}
	return !missing
}

// accounts says which of the two kinds of broker this is. In one account every client can
// have the server write with the server's rights, whatever its own permissions.
func (d *doctor) accounts(access broker.Access) {
	const one = "the roles have no accounts of their own: every client of this broker is an administrator"
	switch {
	case access.Account == d.role.Account():
		d.add(LevelOK, "accounts", "", "this connection is in the account of its role, "+access.Account, "")
	case access.Restricted():
		d.add(LevelWarning, "accounts", "", one+", whatever its permissions",
			"'extsync broker-config' writes a configuration with an account for each role; docs/security.md says why")
	default:
		d.add(LevelOK, "accounts", "", one+", which is for development", "")
	}
}

// missing reports what a role needs and does not have, for all channels or for
// one of them, or for a topic.
func (d *doctor) missing(access broker.Access, of string, scope brokerconfig.Scope) bool {
	need := scope.Permissions(d.role)
	if of != "" { // what all of them need was looked at before
		shared := brokerconfig.Scope{Names: scope.Names}.Permissions(d.role)
		need.Publish = without(need.Publish, shared.Publish)
		need.Subscribe = without(need.Subscribe, shared.Subscribe)
	}
	// That the connection hears its inboxes is known, whatever their prefix.
	need.Subscribe = without(need.Subscribe, []string{d.role.InboxPrefix() + ".>"})
	publish := slices.DeleteFunc(need.Publish, access.Publish.Has)
	subscribe := slices.DeleteFunc(need.Subscribe, access.Subscribe.Has)
	if len(publish)+len(subscribe) == 0 {
		return false
	}
	subject, text := "role "+string(d.role), ""
	if of != "" {
		subject += ", " + of
	}
	if len(publish) > 0 {
		text = "may not publish to " + strings.Join(publish, ", ")
	}
	if len(subscribe) > 0 {
		text = strings.TrimPrefix(text+"; may not subscribe to ", "; ") + strings.Join(subscribe, ", ")
	}
	d.add(LevelProblem, "permissions", subject, text, advicePermission)
	d.found[len(d.found)-1].Missing = &MissingPermissions{Publish: publish, Subscribe: subscribe}
	return true
}

func without(list, drop []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(drop, s) })
}

// routes returns the channels that are not deleted and the topics, and whether they may be
// asked for and were told.
func (d *doctor) routes(ctx context.Context, access broker.Access) (names, topics []string, ok bool) {
	bucket := wire.RegistryBucket(d.c.Names)
	stream := wire.KVStream(bucket)
	for _, subject := range []string{"$JS.API.STREAM.INFO." + stream, "$JS.API.STREAM.MSG.GET." + stream} {
		if !access.Publish.Has(subject) {
			return nil, nil, false
		}
	}
	registry, err := d.c.Registry(ctx)
	if err != nil { // not provisioned: later checks say so
		return nil, nil, false
	}
	entries, err := registry.List(ctx)
	if err != nil {
		return nil, nil, false
	}
	there, err := registry.Topics(ctx)
	if err != nil {
		return nil, nil, false
	}
	for _, t := range there {
		topics = append(topics, t.Topic.Name)
	}
	for _, e := range entries {
		if e.Deleted.IsZero() {
			names = append(names, e.Config.Name)
		}
	}
	return names, topics, true
}
