package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// UserInfoSubject is where a server tells a connection who it is and what it may
// do.
const UserInfoSubject = "$SYS.REQ.USER.INFO"

// accessTimeout bounds how long a server may take for it.
const accessTimeout = 2 * time.Second

// Errors of ReadAccess.
var (
	// ErrDeaf says that a connection may not listen to its own inboxes: no request
	// of it is ever answered.
	ErrDeaf = errors.New("the connection may not listen to its inboxes")
	// ErrNoAccess says that the server does not tell what a connection may do.
	ErrNoAccess = errors.New("the server does not tell what the connection may do")
)

// Access is what the server lets a connection do. The zero Access restricts
// nothing.
type Access struct {
	User      string   `json:"user"` // a public nkey, or a name
	Account   string   `json:"-"`    // that the connection is in
	Publish   Subjects `json:"publish"`
	Subscribe Subjects `json:"subscribe"`
}

// Subjects are the subjects that are allowed, all if there are none, but for
// those that are denied.
type Subjects struct {
	Allow []string `json:"allow"`
	Deny  []string `json:"deny"`
}

// ReadAccess asks the server. Its errors wrap ErrDeaf, ErrRefused if the
// connection may not ask, or ErrNoAccess: none of them takes a time-out, unless
// the server does not answer at all. It is for a connection that has not been
// refused anything yet.
func ReadAccess(ctx context.Context, nc *nats.Conn) (Access, error) {
	ctx, cancel := context.WithTimeout(ctx, accessTimeout)
	defer cancel()
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrNoAccess, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // the server may have refused it
	// What is refused is said before the answer to a ping that follows it.
	if err := nc.FlushWithContext(ctx); err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrNoAccess, err)
	}
	if errors.Is(nc.LastError(), nats.ErrPermissionViolation) {
		return Access{}, fmt.Errorf("%w (%s)", ErrDeaf, inbox[:strings.LastIndexByte(inbox, '.')]+".>")
	}
	err = nc.PublishRequest(UserInfoSubject, inbox, nil)
	if err == nil {
		err = nc.FlushWithContext(ctx)
	}
	if err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrNoAccess, err)
	}
	if err := nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		_, err := refusal(err)
		return Access{}, err
	}
	msg, err := sub.NextMsgWithContext(ctx)
	if err != nil { // nats.ErrNoResponders among them
		return Access{}, fmt.Errorf("%w: %w", ErrNoAccess, err)
	}
	return decodeAccess(msg.Data)
}

func decodeAccess(data []byte) (Access, error) {
	var answer struct {
		Error *struct{ Code int } `json:"error"`
		Data  *struct {
			User        string  `json:"user"`
			Account     string  `json:"account"`
			Permissions *Access `json:"permissions"`
		} `json:"data"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return Access{}, fmt.Errorf("%w: %w", ErrNoAccess, err)
	}
	if answer.Error != nil || answer.Data == nil {
		return Access{}, ErrNoAccess
	}
	a := Access{}
	if p := answer.Data.Permissions; p != nil {
		a = *p
	}
	a.User, a.Account = answer.Data.User, answer.Data.Account
	return a, nil
}

// Restricted reports whether anything is forbidden.
func (a Access) Restricted() bool { return a.Publish.restricted() || a.Subscribe.restricted() }

func (s Subjects) restricted() bool { return len(s.Allow)+len(s.Deny) > 0 }

// Has reports whether all of a subject, which may have wildcards, is allowed by
// one of the allowed subjects, and none of it denied.
func (s Subjects) Has(subject string) bool {
	for _, d := range s.Deny {
		if Overlap(subject, d) {
			return false
		}
	}
	for _, a := range s.Allow {
		if Within(subject, a) {
			return true
		}
	}
	return len(s.Allow) == 0
}

// Within reports whether every subject that matches inner matches outer too.
func Within(inner, outer string) bool {
	in, out := strings.Split(inner, "."), strings.Split(outer, ".")
	for i, o := range out {
		switch {
		case i == len(in):
			return false
		case o == ">":
			return true
		case in[i] == ">", o != "*" && o != in[i]:
			return false
		}
	}
	return len(in) == len(out)
}

// Overlap reports whether some subject matches both.
func Overlap(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; i < len(as) && i < len(bs); i++ {
		switch {
		case as[i] == ">" || bs[i] == ">":
			return true
		case as[i] != "*" && bs[i] != "*" && as[i] != bs[i]:
			return false
		}
	}
	return len(as) == len(bs)
}
