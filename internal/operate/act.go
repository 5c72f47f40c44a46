package operate

import (
	"context"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/wire"
)

// Act does an administrative act and records it, see auditlog.Log.Do. The actor is
// whoever runs this process, or who As names. If the broker does not let the act be
// recorded, it fails at once.
func (c *Client) Act(ctx context.Context, a auditlog.Act, do func(context.Context) (after any, err error)) error {
	a.Actor, a.From = c.actor, c.from
	audit := func(subject string) bool { return strings.HasPrefix(subject, wire.Audit(c.Names, "")) }
	return c.Refusals.Do(ctx, audit, func(ctx context.Context) error { return auditlog.Open(c.JS, c.Names).Do(ctx, a, do) })
}

// As returns a client on the same connection that acts for somebody else, who asked from an
// address.
func (c *Client) As(actor, from string) *Client {
	out := *c
	out.actor, out.from = actor, from
	return &out
}

// actorOf names whoever runs this process for the audit log: the user of the
// operating system and the machine, and who it is to the broker.
func actorOf(conn *nats.Conn) string {
	name := "user " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	if conn.Opts.Nkey != "" {
		name += " as " + conn.Opts.Nkey // the public half
	} else if u, err := url.Parse(conn.ConnectedUrl()); err == nil {
		if _, password := u.User.Password(); password { // a user without one is a token
			name += " as " + u.User.Username()
		}
	}
	return "command " + name
}
