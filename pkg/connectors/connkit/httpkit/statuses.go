package httpkit

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A meaning is what statuses stand for where the channel says nothing else.
type meaning struct {
	from, to int
	class    connectors.Class
	why      string
}

// meanings lists every status, those first that come most. The first that has one counts.
var meanings = [...]meaning{ //nolint:gochecknoglobals // a constant that the language cannot express as one
	{200, 299, connectors.OK, "the target has taken it"},
	{401, 401, connectors.Misconfigured, "somebody must act: the credentials are refused"},
	{402, 402, connectors.Misconfigured, "somebody must act: the target wants to be paid"},
	{403, 403, connectors.Misconfigured, "somebody must act: the credentials may not do that, or not with this record"},
	{404, 404, connectors.Unready, "not yet: what the record belongs to may come, and a target that is being deployed answers so; to a delete it is what was asked for"},
	{405, 405, connectors.Misconfigured, "somebody must act: the channel's method is not the target's"},
	{406, 406, connectors.Misconfigured, "somebody must act: the channel's headers ask for what the target does not have"},
	{407, 407, connectors.Misconfigured, "somebody must act: the proxy refuses the credentials"},
	{408, 408, connectors.Transient, "the target has waited for the request in vain"},
	{409, 409, connectors.Unready, "not yet: another request of the record is under way, or something else is in the way; where the target says which version it holds, that decides"},
	{410, 410, connectors.Permanent, "never: the target says that it is gone for good; to a delete it is what was asked for"},
	{411, 411, connectors.Permanent, "never: every request has a length, so the target does not understand it"},
	{412, 412, connectors.Conflict, "the target holds something else than the request names; where it says which version, that decides"},
	{413, 414, connectors.Permanent, "never: the update is too large for the target"},
	{415, 415, connectors.Misconfigured, "somebody must act: the channel's content type is not the target's"},
	{421, 421, connectors.Transient, "another connection may reach the right server"},
	{423, 423, connectors.Unready, "not yet: somebody has locked the record"},
	{424, 424, connectors.Unready, "not yet: what the record depends on has failed"},
	{425, 425, connectors.Transient, "the target does not take early data"},
	{426, 426, connectors.Misconfigured, "somebody must act: the target wants another protocol"},
	{428, 428, connectors.Misconfigured, "somebody must act: the target wants a precondition that the channel does not send"},
	{429, 429, connectors.Throttled, "the target wants fewer requests"},
	{400, 499, connectors.Permanent, "never: the target does not take this content"},
	{501, 501, connectors.Misconfigured, "somebody must act: the target cannot do what the channel asks for"},
	{505, 506, connectors.Misconfigured, "somebody must act: the target wants another protocol"},
	{510, 511, connectors.Misconfigured, "somebody must act: the target, or the network before it, wants something that the channel does not send"},
	{500, 599, connectors.Transient, "the target has failed; 503 with Retry-After is throttled"},
	{301, 303, connectors.Unready, "not yet: the target has moved, or shows something else while it is maintained; redirects are not followed"},
	{307, 308, connectors.Unready, "not yet: the target has moved, or shows something else while it is maintained; redirects are not followed"},
	{300, 399, connectors.Permanent, "never: no answer to a request that writes"},
	{100, 199, connectors.Transient, "no answer yet, so it is not known what became of the request"},
	{600, 999, connectors.Transient, "unknown, so it is tried again"},
}

// ClassOf returns the class of a status where the channel says nothing else. asked says
// that the target asked for time by Retry-After.
func ClassOf(status int, asked bool) connectors.Class {
	if status == http.StatusServiceUnavailable && asked {
		return connectors.Throttled
	}
	for i := range meanings {
		if m := &meanings[i]; m.from <= status && status <= m.to {
			return m.class
		}
	}
	return connectors.Transient
}

// Statuses says what each status of a target means unless the channel says otherwise, in
// the order in which they are looked up.
func Statuses() []connectors.Meaning {
	var out []connectors.Meaning
	for _, m := range meanings {
		code := strconv.Itoa(m.from)
		if m.to != m.from {
			code = fmt.Sprintf("%d to %d", m.from, m.to)
		}
		out = append(out, connectors.Meaning{Code: code, Class: m.class, Why: m.why})
	}
	return out
}
