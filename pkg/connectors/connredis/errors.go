package connredis

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// A meaning is what an error of the server stands for.
type meaning struct {
	prefix string // with which the error begins, but for "ERR "
	code   string // prefix, if it is empty
	class  connectors.Class
	text   string // for people
	why    string // it has this class
}

// Why an error has its class.
const (
	whyServer = "the server's trouble passes"
	whyOthers = "others are at it, and end"
	whyLess   = "the server wants fewer connections"
	whyRoom   = "not yet: keys may go, or somebody gives the server more memory"
	whyLogin  = "somebody must act: the login, or what it may do"
	whySchema = "somebody must act: the channel's configuration, or the server"
	whyNever  = "never: the same content fails again"
	whyOwn    = "never: the platform did not write what is there"
)

// meanings are the errors that are known. The first that fits counts. What is not in the
// list is transient.
func meanings() []meaning {
	const (
		transient     = connectors.Transient
		misconfigured = connectors.Misconfigured
	)
	return []meaning{
		{prefix: "WRONGTYPE", class: connectors.Conflict, text: "the key is of another type", why: whyOwn},
		{prefix: "OOM", class: connectors.Unready, text: "the server has no memory left for writes", why: whyRoom},
		{prefix: "READONLY", class: transient, text: "the server is a replica, which takes no writes", why: whyServer},
		{prefix: "LOADING", class: transient, text: "the server reads its file", why: whyServer},
		{prefix: "MASTERDOWN", class: transient, text: "the server is a replica that does not reach its master", why: whyServer},
		{prefix: "NOREPLICAS", class: transient, text: "the server has too few replicas to take writes", why: whyServer},
		{prefix: "MISCONF", class: transient, text: "the server cannot write to its disk, and takes no writes", why: whyServer},
		{prefix: "CLUSTERDOWN", class: transient, text: "the cluster is down", why: whyServer},
		{prefix: "TRYAGAIN", class: transient, text: "the slot is on its way to another server", why: whyOthers},
		{prefix: "BUSY", class: transient, text: "another script runs on the server", why: whyOthers},
		{prefix: "MOVED", class: misconfigured, text: "the server is one of a cluster, and the key is at another one; set cluster: true", why: whySchema},
		{prefix: "ASK", class: misconfigured, text: "the server is one of a cluster, and the key is at another one; set cluster: true", why: whySchema},
		{prefix: "CROSSSLOT", class: connectors.Permanent, text: "the names of the key are in two slots", why: whyNever},
		{prefix: "NOAUTH", class: misconfigured, text: "the server wants a password", why: whyLogin},
		{prefix: "Protocol error: unauthenticated", code: "NOAUTH", class: misconfigured, text: "the server wants a password", why: whyLogin},
		{prefix: "WRONGPASS", class: misconfigured, text: "the server does not take the username and password", why: whyLogin},
		{prefix: "NOPERM", class: misconfigured, text: "the user may not use a command or the keys", why: whyLogin},
		{prefix: "DENIED", class: misconfigured, text: "the server takes no connections from here in its protected mode", why: whyLogin},
		{prefix: "The user executing the script can't", code: "NOPERM", class: misconfigured, text: "the user may not use a command or the keys", why: whyLogin},
		{prefix: "AUTH", code: "no_password_set", class: misconfigured, text: "the server has no password for the user", why: whyLogin},
		{prefix: "max number of clients reached", code: "max_clients", class: connectors.Throttled, text: "the server has too many connections", why: whyLess},
		{prefix: "DB index is out of range", code: "no_database", class: misconfigured, text: "there is no database of this number", why: whySchema},
		{prefix: "This instance has cluster support disabled", code: "no_cluster", class: misconfigured, text: "the server is no cluster; leave out cluster", why: whySchema},
		{prefix: "unknown command", code: "unknown_command", class: misconfigured, text: "the server does not know a command, or hides it", why: whySchema},
		{prefix: "string exceeds maximum allowed size", code: "too_large", class: connectors.Permanent, text: "the payload is larger than the server takes", why: whyNever},
	}
}

// Codes says what each error of a server means, by the code of the result. What is not
// listed is transient.
func Codes() []connectors.Meaning {
	var out []connectors.Meaning
	for _, m := range meanings() {
		code := m.prefix
		if m.code != "" {
			code = m.code + " (" + m.prefix + ")"
		}
		out = append(out, connectors.Meaning{Code: code, Class: m.class, What: m.text, Why: m.why})
	}
	return out
}

// explain returns what an error means.
func (c *connector) explain(ctx context.Context, err error) *connectors.Error {
	var server redis.Error
	switch {
	case errors.As(err, &server):
		m := c.meaningOf(err)
		return &connectors.Error{Class: m.class, Code: m.code, Err: errors.New(m.text)}
	case errors.Is(ctx.Err(), context.Canceled):
		return &connectors.Error{Code: "canceled", Err: errors.New("the call was cancelled")}
	case ctx.Err() != nil:
		return &connectors.Error{Code: "timeout", Err: errors.New("the server did not answer in time")}
	}
	c.reload() // the server may have been replaced
	d := connkit.Diagnose(err)
	return &connectors.Error{Class: d.Class, Code: d.Code, Err: errors.New(d.Text)}
}

// meaningOf returns the meaning of an error of the server.
func (c *connector) meaningOf(err error) meaning {
	for _, m := range meanings() {
		if !redis.HasErrorPrefix(err, m.prefix) {
			continue
		}
		if m.code == "" {
			m.code = m.prefix
		}
		if c.cfg.Cluster && (m.code == "MOVED" || m.code == "ASK") { // and was followed once
			m.class, m.text = connectors.Transient, "the slot is on its way to another server"
		}
		return m
	}
	return meaning{class: connectors.Transient, code: "ERR", text: "the server answered with an error"}
}

// failed returns the result of an attempt that failed.
func (c *connector) failed(ctx context.Context, err error) connectors.Result {
	e := c.explain(ctx, err)
	out := connectors.Failed(e.Class, e.Code, e.Err)
	var server redis.Error
	if errors.As(err, &server) {
		out.Response = c.scrubber.Excerpt([]byte(server.Error()), connectors.MaxResponse, false)
	}
	return out
}

// isForeign reports whether a key is of another type than ours.
func isForeign(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }
