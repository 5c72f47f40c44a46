package connkafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Why a code has its class.
const (
	whyLogin   = "somebody must act: the login, or what it may do"
	whyTopic   = "somebody must act: the topic"
	whyCluster = "somebody must act: the cluster, or the channel's configuration"
	whyTrouble = "the trouble passes"
	whyFenced  = "a worker that still has the partition announces itself anew"
	whyTime    = "the cluster asks for time, and the update is not at fault"
	whyNever   = "never: the same update fails again"
)

const (
	codeTooLong    = "too_long"
	codeNotCompact = "not_compacted"
	codeNotOwned   = "fenced"
	codeAnswer     = "protocol"
	codeClosed     = "closed"
)

var errAnswer = errors.New("the broker's answer is not one to the question")

// A meaning is what errors of the protocol stand for. Its text shows nothing that came from
// the other side.
type meaning struct {
	errs  []*kerr.Error
	class connectors.Class
	text  string
	why   string
}

func meanings() []meaning {
	const act, passes, waits, never = connectors.Misconfigured, connectors.Transient, connectors.Throttled, connectors.Permanent
	return []meaning{
		{[]*kerr.Error{kerr.UnknownTopicOrPartition, kerr.UnknownTopicID, kerr.InvalidTopicException}, act, "the topic is not there", whyTopic},
		{[]*kerr.Error{kerr.TopicAuthorizationFailed}, act, "the user may not describe the topic, or not write to it", whyLogin},
		{[]*kerr.Error{kerr.TransactionalIDAuthorizationFailed}, act, "the user may not describe and write the transactional id", whyLogin},
		{[]*kerr.Error{kerr.ClusterAuthorizationFailed}, act, "the user may not write under a producer id: it lacks IdempotentWrite on the cluster", whyLogin},
		{[]*kerr.Error{kerr.SaslAuthenticationFailed}, act, "the broker refuses the login of this user", whyLogin},
		{[]*kerr.Error{kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState}, act, "the broker does not log in by this mechanism", whyLogin},
		{[]*kerr.Error{kerr.InvalidTransactionTimeout}, act, "transaction.max.timeout.ms of the cluster is less than the channel's timeout and 5 seconds", whyCluster},
		{[]*kerr.Error{kerr.UnsupportedVersion, kerr.UnsupportedForMessageFormat}, act, "the cluster is too old for what is needed", whyCluster},
		{[]*kerr.Error{kerr.PolicyViolation, kerr.InvalidConfig}, act, "a policy of the cluster forbids it", whyCluster},
		{[]*kerr.Error{kerr.MessageTooLarge, kerr.RecordListTooLarge}, never, "the record is larger than max.message.bytes of the topic", whyNever},
		{[]*kerr.Error{kerr.InvalidRecord, kerr.InvalidTimestamp}, never, "the cluster refuses the record for what it is", whyNever},
		{
			[]*kerr.Error{kerr.ProducerFenced, kerr.InvalidProducerEpoch, kerr.InvalidProducerIDMapping, kerr.UnknownProducerID, kerr.OutOfOrderSequenceNumber, kerr.InvalidTxnState, kerr.TransactionAbortable, kerr.OperationNotAttempted},
			passes, "another producer has announced itself for the partition of the channel, or the cluster has forgotten ours", whyFenced,
		},
		{[]*kerr.Error{kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend}, passes, "fewer replicas are in sync than min.insync.replicas asks for", whyTrouble},
		{[]*kerr.Error{kerr.ThrottlingQuotaExceeded}, waits, "the user has used up its quota", whyTime},
	}
}

// isRecord reports whether an error is the fault of a record, or of another one beside it in
// the batch.
func isRecord(err error) bool {
	return errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.RecordListTooLarge) || errors.Is(err, kerr.InvalidRecord) || errors.Is(err, kerr.InvalidTimestamp)
}

// isProducer reports whether the cluster does not know the producer, or not any more.
func isProducer(err error) bool {
	var e *kerr.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, m := range meanings() {
		if m.why == whyFenced && slices.Contains(m.errs, e) {
			return true
		}
	}
	return false
}

// Codes says what the codes of this kind mean. What is not listed is another error of the
// protocol, by its name there, or an error of the network; both are transient.
func Codes() []connectors.Meaning {
	var out []connectors.Meaning
	for _, m := range meanings() {
		for _, e := range m.errs {
			out = append(out, connectors.Meaning{Code: e.Message, Class: m.class, What: m.text, Why: m.why})
		}
	}
	return append(
		out,
		connectors.Meaning{Code: codeNotCompact, Class: connectors.Misconfigured, What: errNoCompaction.Error(), Why: whyTopic},
		connectors.Meaning{Code: codeTooLong, Class: connectors.Permanent, What: "the record is larger than max_record_bytes", Why: whyNever},
		connectors.Meaning{Code: codeNotOwned, Class: connectors.Transient, What: errNotOwned.Error(), Why: whyTrouble},
		connectors.Meaning{Code: codeClosed, Class: connectors.Transient, What: "the broker closed the connection: it is being started, or wants TLS or a login that the channel does not have", Why: whyTrouble},
		connectors.Meaning{Code: codeAnswer, Class: connectors.Transient, What: errAnswer.Error(), Why: whyTrouble},
	)
}

// classify says what the engine is to do about an error. What kept the client from connecting
// decides if it never did. Else it is told beside the error, as it may be another broker's. The
// text shows nothing that came from the other side.
func (c *connector) classify(err error, seen tries) *connectors.Error {
	e, sure := c.meaning(err)
	if sure || seen.failed == nil || errors.Is(seen.failed, context.Canceled) {
		return e
	}
	why := diagnosed(seen.failed)
	if !seen.worked {
		return why
	}
	if e.Code != why.Code {
		e.Err = fmt.Errorf("%w; a connection to a broker failed: %w", e.Err, why.Err)
	}
	return e
}

// meaning returns what an error is by itself, and whether that is sure: it is the end of a
// call, or an error of the network, where it is not.
func (*connector) meaning(err error) (e *connectors.Error, sure bool) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &connectors.Error{Class: connectors.Transient, Code: "timeout", Err: errors.New("it was not done in time")}, false
	case errors.Is(err, context.Canceled):
		return &connectors.Error{Class: connectors.Transient, Code: "canceled", Err: errors.New("it was given up")}, false
	}
	for _, known := range []struct {
		err   error
		class connectors.Class
		code  string
	}{
		{errNoCompaction, connectors.Misconfigured, codeNotCompact},
		{errNotOwned, connectors.Transient, codeNotOwned},
		{errAnswer, connectors.Transient, codeAnswer},
	} {
		if errors.Is(err, known.err) {
			return &connectors.Error{Class: known.class, Code: known.code, Err: known.err}, true
		}
	}
	var said *kerr.Error
	if !errors.As(err, &said) {
		return diagnosed(err), false
	}
	for _, m := range meanings() {
		if slices.Contains(m.errs, said) {
			return &connectors.Error{Class: m.class, Code: said.Message, Err: errors.New(m.text)}, true
		}
	}
	return &connectors.Error{Class: connectors.Transient, Code: said.Message, Err: errors.New("the cluster cannot do it now")}, true
}

func diagnosed(err error) *connectors.Error {
	var eof *kgo.ErrFirstReadEOF
	if errors.As(err, &eof) {
		return &connectors.Error{Class: connectors.Transient, Code: codeClosed, Err: errors.New("the broker closed the connection at once: it is being started, or wants TLS or a login that the channel does not have")}
	}
	d := connkit.Diagnose(err)
	return &connectors.Error{Class: d.Class, Code: d.Code, Err: errors.New(d.Text)}
}

// failed returns the result of a record that failed.
func (c *connector) failed(err error, seen tries) connectors.Result {
	e := c.classify(err, seen)
	return connectors.Failed(e.Class, e.Code, e.Err)
}

// all returns results for n records that failed with the same error.
func (c *connector) all(n int, err error, seen tries) []connectors.Result {
	out := make([]connectors.Result, n)
	for i := range out {
		out[i] = c.failed(err, seen)
	}
	return out
}
