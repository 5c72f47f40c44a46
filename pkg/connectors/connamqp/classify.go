package connamqp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Why a code has its class.
const (
	whyLogin   = "somebody must act: the login, or what it may do"
	whyTarget  = "somebody must act: the exchange, its bindings, or the queue"
	whyBroker  = "somebody must act: the broker, or the channel's configuration"
	whyTrouble = "the trouble passes"
	whyTime    = "the broker asks for time, and the update is not at fault"
	whyNever   = "never: the same update fails again"
)

const (
	codeTooLong = "too_long"
	codeOther   = "amqp"
)

var (
	errNack    = errors.New("the broker did not take the message: the queue is full, or it failed")
	errBlocked = errors.New("the broker takes no messages now: it is short of memory or disk")
)

// An unroutableError says that the broker gave a message back.
type unroutableError struct{ reply string }

func (*unroutableError) Error() string { return "no queue takes the message" }

// A meaning is what a kind of error stands for. Its text shows nothing that came from the
// other side.
type meaning struct {
	code  string
	class connectors.Class
	text  string
	why   string
	is    func(err error) bool
}

// meanings are tried in their order.
func meanings() []meaning {
	said := func(codes ...int) func(error) bool {
		return func(err error) bool {
			var e *amqp.Error
			if !errors.As(err, &e) || !e.Server {
				return false
			}
			for _, c := range codes {
				if e.Code == c {
					return true
				}
			}
			return len(codes) == 0
		}
	}
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	number := strconv.Itoa
	const act, passes, waits, never = connectors.Misconfigured, connectors.Transient, connectors.Throttled, connectors.Permanent
	return []meaning{
		{number(amqp.NoRoute), act, "no queue takes the message: none is bound to the exchange for its routing key, or the queue is not there", whyTarget, as[*unroutableError]},
		{"nack", waits, errNack.Error(), whyTime, is(errNack)},
		{"blocked", waits, errBlocked.Error(), whyTime, is(errBlocked)},
		{"login", act, "the broker refuses the login of this user", whyLogin, as[*loginError]},
		{"declare", act, "a queue of this name is there, and has other properties", whyTarget, as[*declareError]},
		{"too_much", passes, errTooMuch.Error(), whyTrouble, is(errTooMuch)},
		{number(amqp.AccessRefused), act, "the user may not do this: write to the exchange, or configure the queue", whyLogin, said(amqp.AccessRefused)},
		{number(amqp.NotFound), act, "the exchange, or the queue, is not there", whyTarget, said(amqp.NotFound)},
		{number(amqp.ResourceLocked), act, "the queue is another connection's alone", whyTarget, said(amqp.ResourceLocked)},
		{number(amqp.PreconditionFailed), never, "the broker refuses the message: it is larger than it takes", whyNever, said(amqp.PreconditionFailed)},
		{number(amqp.ContentTooLarge), never, "the message is larger than the broker takes", whyNever, said(amqp.ContentTooLarge)},
		{number(amqp.NotAllowed), act, "the virtual host is not there, the user may not enter it, or has too many connections", whyLogin, said(amqp.NotAllowed)},
		{number(amqp.NotImplemented), act, "the broker cannot do a step that is needed", whyBroker, said(amqp.NotImplemented)},
		{number(amqp.ConnectionForced), passes, "the broker ended the connection: it is being stopped, or somebody closed it", whyTrouble, said(amqp.ConnectionForced)},
		{codeOther, passes, "the broker failed, and ended the connection", whyTrouble, said()},
		{"closed", passes, "the connection ended before the answer", whyTrouble, as[*amqp.Error]},
	}
}

// as reports whether an error has one of this type in it.
func as[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

// Codes says what the codes of this kind mean. What is not listed is an error of the network,
// and transient.
func Codes() []connectors.Meaning {
	var out []connectors.Meaning
	for _, m := range meanings() {
		out = append(out, connectors.Meaning{Code: m.code, Class: m.class, What: m.text, Why: m.why})
	}
	return append(out, connectors.Meaning{
		Code: codeTooLong, Class: connectors.Permanent, What: "a content type or the attributes are longer than AMQP or the broker takes", Why: whyNever,
	})
}

// classify says what the engine is to do about an error. Its text shows nothing that came
// from the other side.
func (c *connector) classify(ctx context.Context, err error) *connectors.Error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, errBlocked) {
		code := "canceled"
		if errors.Is(ended, context.DeadlineExceeded) {
			code = "timeout"
		}
		return &connectors.Error{Class: connectors.Transient, Code: code, Err: fmt.Errorf("it was not done in time: %w", ended)}
	}
	var own *connectors.Error
	if errors.As(err, &own) {
		return own
	}
	for _, m := range meanings() {
		if m.is(err) {
			return &connectors.Error{Class: m.class, Code: m.code, Err: errors.New(m.text)}
		}
	}
	d := connkit.Diagnose(err)
	return &connectors.Error{Class: d.Class, Code: d.Code, Err: errors.New(d.Text)}
}

// failed returns the result of a call that failed. What the broker said of it is shown.
func (c *connector) failed(ctx context.Context, err error) connectors.Result {
	e := c.classify(ctx, err)
	res := connectors.Failed(e.Class, e.Code, e.Err)
	var said *amqp.Error
	var back *unroutableError
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &said) && said.Server:
		res.Response = c.excerpt(said.Reason)
	case errors.As(err, &back):
		res.Response = c.excerpt(back.reply)
	}
	return res
}

func (c *connector) excerpt(text string) string {
	line := strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "\uFFFD")
	return connectors.Clip(c.scrubber.Text(line), connectors.MaxResponse)
}
