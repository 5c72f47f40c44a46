package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/gateway"
	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

const problemType = "application/problem+json"

// A Problem is every answer that is not a success (RFC 9457).
type Problem struct {
	Title  string       `json:"title" doc:"The text of the status"`
	Status int          `json:"status" doc:"The HTTP status"`
	Reason string       `json:"reason,omitempty" doc:"What is wrong, in one word for programs"`
	Detail string       `json:"detail,omitempty" doc:"What is wrong, for people"`
	Errors []FieldError `json:"errors,omitempty" doc:"Every bad field"`

	Channel string `json:"channel,omitempty"`
	Topic   string `json:"topic,omitempty"`
	Key     string `json:"key,omitempty"`
	// Head is what a stale or conflicting update has met.
	Head *versioning.Tag `json:"head,omitempty" doc:"The newest version of the key, if that is why the update was refused"`
	// Undelivered and Confirm belong to acts that want a confirmation.
	Undelivered *uint64 `json:"undelivered,omitempty" doc:"Updates without an outcome"`
	Confirm     string  `json:"confirm,omitempty" doc:"What to give as the parameter confirm"`

	retryAfter     time.Duration
	acceptEncoding string
}

// A FieldError is one bad field.
type FieldError struct {
	Location string `json:"location,omitempty" doc:"Where it is, such as body.version"`
	Message  string `json:"message"`
}

// Error returns the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus tells huma the status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType tells huma the media type.
func (p *Problem) ContentType(string) string { return problemType }

// GetHeaders tells huma what goes into the header.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	if p.acceptEncoding != "" {
		h.Set("Accept-Encoding", p.acceptEncoding)
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	return h
}

func problem(status int, reason, detail string) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Reason: reason, Detail: detail}
}

func invalid(fields ...FieldError) *Problem {
	p := problem(http.StatusUnprocessableEntity, "invalid", "the request has bad fields")
	p.Errors = fields
	return p
}

// write sends a problem from outside of huma.
func (p *Problem) write(w http.ResponseWriter) {
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client has gone
}

// transform makes huma's own errors Problems, without the values that they
// repeat: one of them may be a secret.
func transform(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	p := problem(m.Status, reasonOf(m.Status), m.Detail)
	for _, e := range m.Errors {
		p.Errors = append(p.Errors, FieldError{Location: e.Location, Message: e.Message})
	}
	return p, nil
}

// reasonOf is the reason of huma's own errors.
func reasonOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "bad_request"
	case http.StatusRequestTimeout:
		return "slow_body"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "media_type"
	case http.StatusUnprocessableEntity:
		return "invalid"
	default:
		return "internal"
	}
}

// A mapping is what an error means for the caller.
type mapping struct {
	is     error
	status int
	reason string
	retry  time.Duration
}

const (
	soon  = time.Second
	later = 10 * time.Second
)

// mappings lists them in the order in which they are tried: errors wrap each
// other.
func mappings() []mapping {
	return []mapping{
		{broker.ErrRefused, http.StatusServiceUnavailable, "no_permission", later},
		{gateway.ErrNobody, http.StatusServiceUnavailable, "no_administrator", later},
		{gateway.ErrOverloaded, http.StatusServiceUnavailable, "overloaded", soon},
		{gateway.ErrNoAnswer, http.StatusGatewayTimeout, "no_answer", 0},
		{gateway.ErrAnswerTooLarge, http.StatusBadGateway, "answer_too_large", 0},
		{gateway.ErrBroken, http.StatusBadGateway, "administrator_failed", 0},
		{gateway.ErrTooLarge, http.StatusRequestEntityTooLarge, "too_large", 0},
		{gateway.ErrMalformed, http.StatusBadRequest, "bad_request", 0},
		{sessions.ErrNoKey, http.StatusServiceUnavailable, "no_session_key", 0},
		{sessions.ErrTooLarge, http.StatusForbidden, "login_refused", 0},
		{sessions.ErrNoGroup, http.StatusForbidden, "login_refused", 0},
		{sessions.ErrLogin, http.StatusForbidden, "login_refused", 0},
		{sessions.ErrProvider, http.StatusBadGateway, "provider", 0},
		{events.ErrStale, http.StatusConflict, "stale", 0},
		{events.ErrConflict, http.StatusConflict, "conflict", 0},
		{events.ErrUnknownTopic, http.StatusNotFound, "unknown_topic", 0},
		{channels.ErrNoTopic, http.StatusNotFound, "unknown_topic", 0},
		{channels.ErrTopicDeleting, http.StatusConflict, "topic_deleting", later},
		{channels.ErrTopicRead, http.StatusConflict, "topic_read", 0},
		{events.ErrReadsTopic, http.StatusConflict, "reads_topic", 0},
		{events.ErrUnknownChannel, http.StatusNotFound, "unknown_channel", 0},
		{auditlog.ErrNotFound, http.StatusNotFound, "unknown_record", 0},
		{channels.ErrNotFound, http.StatusNotFound, "unknown_channel", 0},
		{operate.ErrUnknownKey, http.StatusNotFound, "unknown_key", 0},
		{channels.ErrUnknownKey, http.StatusNotFound, "unknown_key", 0},
		{jobs.ErrNotFound, http.StatusNotFound, "unknown_job", 0},
		{jobs.ErrOver, http.StatusConflict, "job_over", 0},
		{jobs.ErrInvalid, http.StatusUnprocessableEntity, "invalid", 0},
		{deadletters.ErrNotFound, http.StatusNotFound, "unknown_dead_letter", 0},
		{events.ErrChannelDeleted, http.StatusGone, "channel_deleted", 0},
		{events.ErrTooLarge, http.StatusRequestEntityTooLarge, "too_large", 0},
		{operate.ErrExists, http.StatusConflict, "exists", 0},
		{channels.ErrRevision, http.StatusPreconditionFailed, "changed_meanwhile", 0},
		{channels.ErrImmutable, http.StatusUnprocessableEntity, "immutable", 0},
		{channels.ErrNoOwner, http.StatusServiceUnavailable, "no_worker", later},
		{channels.ErrNotDrained, http.StatusServiceUnavailable, "not_drained", later},
		{connectors.ErrConfig, http.StatusUnprocessableEntity, "invalid", 0},
		{deadletters.ErrFilter, http.StatusUnprocessableEntity, "invalid", 0},
		{deadletters.ErrMalformed, http.StatusConflict, "malformed", 0},
		{deadletters.ErrPending, http.StatusConflict, "pending", 0},
		{deadletters.ErrResolved, http.StatusConflict, "resolved", 0},
		{deadletters.ErrBusy, http.StatusConflict, "busy", later},
		{deadletters.ErrStillFails, http.StatusConflict, "still_fails", 0},
		{channels.ErrReplay, http.StatusConflict, "not_sent", soon},
		{operate.ErrDryRun, http.StatusConflict, "too_costly", 0},
		{channels.ErrReadBack, http.StatusServiceUnavailable, "not_read", soon},
		{channels.ErrGiveUp, http.StatusConflict, "not_given_up", soon},
		{channels.ErrReset, http.StatusConflict, "key_busy", soon},
		{channels.ErrKeyBusy, http.StatusConflict, "key_busy", soon},
		{operate.ErrNotKept, http.StatusConflict, "nothing_kept", 0},
		{channels.ErrNoResync, http.StatusNotFound, "no_resync", 0},
		{channels.ErrFilling, http.StatusConflict, "filling", later},
		{channels.ErrResyncActive, http.StatusConflict, "resync_active", 0},
		{channels.ErrNothingKept, http.StatusConflict, "nothing_kept", 0},
		{channels.ErrSelection, http.StatusUnprocessableEntity, "invalid", 0},
		{events.ErrInvalidUpdate, http.StatusUnprocessableEntity, "invalid", 0},
		{events.ErrName, http.StatusUnprocessableEntity, "invalid", 0},
		{channels.ErrNoRoom, http.StatusInsufficientStorage, "broker_full", later},
		{events.ErrBrokerFull, http.StatusInsufficientStorage, "broker_full", later},
		{events.ErrFull, http.StatusTooManyRequests, "channel_full", later},
		{events.ErrBusy, http.StatusTooManyRequests, "key_busy", soon},
		{events.ErrIncarnation, http.StatusServiceUnavailable, "restored", later},
		{events.ErrNotProvisioned, http.StatusServiceUnavailable, "not_provisioned", later},
		{events.ErrUnavailable, http.StatusServiceUnavailable, "broker_unavailable", soon},
		{context.Canceled, http.StatusServiceUnavailable, "stopping", soon},
	}
}

// problemOf returns what an error means for the caller; nil for nil. What is not
// expected is logged, and not told.
func (s *server) problemOf(err error) *Problem {
	if err == nil {
		return nil
	}
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	p = s.known(err)
	if p == nil {
		s.o.Logger.Error().Err(err).Msg("request failed")
		return problem(http.StatusInternalServerError, "internal", "it failed here; the log says why")
	}
	var head *events.HeadError
	if errors.As(err, &head) {
		p.Channel, p.Topic, p.Key, p.Head = head.Channel, head.Topic, head.Key, &head.Head
	}
	return p
}

func (s *server) known(err error) *Problem {
	for _, m := range mappings() {
		if errors.Is(err, m.is) {
			p := problem(m.status, m.reason, words.Of(err))
			p.retryAfter = m.retry
			return p
		}
	}
	switch m := wire.MeaningOf(err); {
	case wire.IsFull(err): // of what all channels share, such as the audit log
		p := problem(http.StatusInsufficientStorage, "broker_full", words.Of(err))
		p.retryAfter = later
		return p
	case m == wire.NoStream: // one that all channels share
		p := problem(http.StatusServiceUnavailable, "not_provisioned", words.Of(err))
		p.retryAfter = later
		return p
	case m == wire.Failed, m == wire.Misconfigured:
		p := problem(http.StatusServiceUnavailable, "broker_unavailable", words.Of(err))
		p.retryAfter = later
		return p
	case wire.IsUnavailable(err):
		p := problem(http.StatusServiceUnavailable, "broker_unavailable", words.Of(err))
		p.retryAfter = soon
		return p
	}
	return nil
}
