package connmqtt

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/eclipse/paho.golang/packets"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Why a code has its class.
const (
	whyLogin   = "somebody must act: the login, or what it may do"
	whyBroker  = "somebody must act: the broker, or the channel's configuration"
	whyTrouble = "the trouble passes"
	whyTime    = "the broker asks for time, and the update is not at fault"
	whyNever   = "never: the same update fails again"
)

const (
	act    = connectors.Misconfigured
	passes = connectors.Transient
	waits  = connectors.Throttled
	never  = connectors.Permanent
)

// A meaning is what a kind of error stands for. Its text shows nothing that came from the
// other side.
type meaning struct {
	code  string
	class connectors.Class
	text  string
	why   string
	is    func(err error) bool
}

// reasons are what the reason codes of MQTT 5 mean, in any packet.
func reasons() []meaning {
	out := []meaning{}
	for _, r := range []struct {
		code  byte
		class connectors.Class
		text  string
		why   string
	}{
		{packets.DisconnectUnspecifiedError, passes, "the broker failed, and does not say why", whyTrouble},
		{packets.DisconnectMalformedPacket, passes, "the broker cannot read what it was sent", whyTrouble},
		{packets.DisconnectProtocolError, passes, "the broker was sent what it did not expect", whyTrouble},
		{packets.DisconnectImplementationSpecificError, passes, "the broker does not take the message now", whyTrouble},
		{packets.ConnackUnsupportedProtocolVersion, act, errOldVersion.Error(), whyBroker},
		{packets.ConnackInvalidClientID, act, "the broker does not take the client id: see client_id", whyBroker},
		{packets.ConnackBadUsernameOrPassword, act, "the broker refuses the user or the password", whyLogin},
		{packets.ConnackNotAuthorized, act, "the user may not do this: connect, publish to the topic, or subscribe to it", whyLogin},
		{packets.ConnackServerUnavailable, passes, "the broker is not available", whyTrouble},
		{packets.ConnackServerBusy, waits, "the broker is busy", whyTime},
		{packets.ConnackBanned, act, "the broker has banned this client", whyLogin},
		{packets.DisconnectServerShuttingDown, passes, "the broker is being stopped", whyTrouble},
		{packets.ConnackBadAuthenticationMethod, act, "the broker wants another way of authentication", whyLogin},
		{packets.DisconnectKeepAliveTimeout, passes, "the broker has not heard of us for too long", whyTrouble},
		{packets.DisconnectSessionTakenOver, passes, "somebody else connected under the same client id", whyTrouble},
		{packets.DisconnectTopicFilterInvalid, act, "the broker does not take the topic", whyBroker},
		{packets.DisconnectTopicNameInvalid, act, "the broker does not take the topic", whyBroker},
		{packets.PubackPacketIdentifierInUse, passes, "the broker takes the message for another one", whyTrouble},
		{packets.DisconnectReceiveMaximumExceeded, passes, "the broker has more messages on their way than it allows", whyTrouble},
		{packets.DisconnectTopicAliasInvalid, passes, "the broker was sent a topic alias, which we do not use", whyTrouble},
		{packets.DisconnectPacketTooLarge, never, "the message is larger than the broker takes", whyNever},
		{packets.DisconnectMessageRateTooHigh, waits, "the broker takes no more messages in this time", whyTime},
		{packets.DisconnectQuotaExceeded, waits, "a quota of the broker is used up", whyTime},
		{packets.DisconnectAdministrativeAction, passes, "somebody ended the connection at the broker", whyTrouble},
		{packets.DisconnectPayloadFormatInvalid, never, "the broker refuses the content of the message", whyNever},
		{packets.DisconnectRetainNotSupported, act, errNoRetain.Error(), whyBroker},
		{packets.DisconnectQoSNotSupported, act, errNoQoS.Error(), whyBroker},
		{packets.DisconnectUseAnotherServer, passes, "the broker sends us to another one for now", whyTrouble},
		{packets.DisconnectServerMoved, act, "the broker has moved for good", whyBroker},
		{packets.DisconnectConnectionRateExceeded, waits, "the broker takes no more connections in this time", whyTime},
		{packets.DisconnectMaximumConnectTime, passes, "the connection was as old as the broker allows", whyTrouble},
	} {
		out = append(out, meaning{codeOf(r.code), r.class, r.text, r.why, func(err error) bool {
			var said *refusal
			return errors.As(err, &said) && said.code == r.code
		}})
	}
	return out
}

// codeOf returns a reason code as the specification writes it.
func codeOf(code byte) string { return fmt.Sprintf("0x%02X", code) }

// meanings are tried in their order.
func meanings() []meaning {
	is := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	first := []meaning{
		{"connect", act, "the broker refuses the connection for how it was asked for", whyBroker, func(err error) bool {
			var said *refusal
			if !errors.As(err, &said) || said.packet != packets.CONNACK {
				return false
			}
			switch said.code {
			case packets.ConnackMalformedPacket, packets.ConnackProtocolError, packets.ConnackPacketTooLarge,
				packets.ConnackTopicNameInvalid, packets.ConnackPayloadFormatInvalid:
				return true
			default:
				return false
			}
		}},
		{"version", act, errOldVersion.Error(), whyBroker, is(errOldVersion)},
		{"retain", act, errNoRetain.Error(), whyBroker, is(errNoRetain)},
		{"qos", act, errNoQoS.Error(), whyBroker, is(errNoQoS)},
	}
	last := []meaning{
		{"reason", passes, "the broker gave a reason code that is not known", whyTrouble, func(err error) bool {
			var said *refusal
			return errors.As(err, &said)
		}},
		{"silent", passes, errSilent.Error(), whyTrouble, is(errSilent)},
		{"too_much", passes, errTooMuch.Error(), whyTrouble, is(errTooMuch)},
		{"protocol", passes, errNotAsked.Error(), whyTrouble, is(errNotAsked)},
		{"not_sent", passes, errNotSent.Error(), whyTrouble, is(errNotSent)},
	}
	return append(append(first, reasons()...), last...)
}

// mayBeOne reports whether a broker ended a connection for what one message is, and not for
// all.
func mayBeOne(err error) bool {
	var said *refusal
	if !errors.As(err, &said) || said.packet != packets.DISCONNECT {
		return false
	}
	switch said.code {
	case packets.DisconnectUnspecifiedError, packets.DisconnectMalformedPacket, packets.DisconnectProtocolError,
		packets.DisconnectImplementationSpecificError, packets.DisconnectNotAuthorized, packets.DisconnectTopicNameInvalid,
		packets.DisconnectPacketTooLarge, packets.DisconnectPayloadFormatInvalid:
		return true
	default:
		return false
	}
}

// Codes says what the codes of this kind mean. What is not listed is an error of the network,
// and transient.
func Codes() []connectors.Meaning {
	var out []connectors.Meaning
	for _, m := range meanings() {
		out = append(out, connectors.Meaning{Code: m.code, Class: m.class, What: m.text, Why: m.why})
	}
	for _, own := range []struct {
		code string
		err  error
	}{{codeTooLarge, errLarge}, {codeEmpty, errEmpty}, {codeText, errText}} {
		out = append(out, connectors.Meaning{Code: own.code, Class: never, What: own.err.Error(), Why: whyNever})
	}
	return out
}

// classify says what the engine is to do about an error. Its text shows nothing that came
// from the other side.
func (*connector) classify(ctx context.Context, err error) *connectors.Error {
	if ended := ctx.Err(); ended != nil {
		code := "canceled"
		if errors.Is(ended, context.DeadlineExceeded) {
			code = "timeout"
		}
		return &connectors.Error{Class: passes, Code: code, Err: fmt.Errorf("it was not done in time: %w", ended)}
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
	var said *refusal
	if ctx.Err() == nil && errors.As(err, &said) {
		line := strings.ToValidUTF8(strings.Join(strings.Fields(said.reason), " "), "\uFFFD")
		res.Response = connectors.Clip(c.scrubber.Text(line), connectors.MaxResponse)
	}
	return res
}
