// Package gateway carries HTTP requests over NATS: from an instance of the HTTP API
// that may not do what they ask for, the gateway, to one that may, the administrator.
// The administrator believes nothing of what it gets: whoever has the gateway's key at
// the broker can send it anything.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Errors of Forward.
var (
	// ErrNobody says that the request was not done: nobody takes it.
	ErrNobody = errors.New("no administrator is there: start 'publisher serve' in the role admin with --http-token-keys-file, or use the command extsync")
	// ErrNoAnswer says that nothing is known of a request.
	ErrNoAnswer = errors.New("the administrator did not answer in time: it may have been done, so look before you repeat it")
	// ErrTooLarge says that the request was not sent.
	ErrTooLarge = errors.New("the request is larger than the broker carries: use the command extsync")
	// ErrOverloaded says that the request was not done: too many are.
	ErrOverloaded = errors.New("the administrator has too many requests at once")
	// ErrMalformed says that the request was not done: it is none.
	ErrMalformed = errors.New("the administrator does not take this for a request")
	// ErrAnswerTooLarge says that the request was done, or refused.
	ErrAnswerTooLarge = errors.New("the administrator has answered, and the answer is larger than the broker carries: look, or use the command extsync")
	// ErrBroken says that the administrator failed.
	ErrBroken = errors.New("the administrator failed: its log says why")
)

// wait is how long Forward waits for an answer: longer than an administrator takes.
const wait = 55 * time.Second

const (
	headerMethod = "Extsync-Method"
	headerPath   = "Extsync-Path"
	headerFrom   = "Extsync-From"
	headerStatus = "Extsync-Status"
	headerError  = "Extsync-Error" // why there is no HTTP answer, instead of headerStatus
)

// The values of headerError.
const (
	overloaded     = "overloaded"
	malformed      = "malformed"
	answerTooLarge = "answer_too_large"
	broken         = "broken"
)

// requestHeaders and answerHeaders are all that is carried of HTTP headers, in canonical
// form: NATS tells letters apart.
func requestHeaders() []string {
	return []string{
		"Authorization", cookie, "Content-Type", "If-Match", "If-None-Match", "Traceparent", "Tracestate",
		// A CloudEvent in binary mode.
		"Ce-Specversion", "Ce-Id", "Ce-Source", "Ce-Type", "Ce-Time", "Ce-Subject", "Ce-Entityversion", "Ce-Op", "Ce-Baseversion",
	}
}

func answerHeaders() []string {
	return []string{"Content-Type", "Etag", "Location", "Retry-After", "Www-Authenticate", "Allow", "Accept-Encoding", setCookie}
}

// An Answer is what an administrator says.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Forward has a request answered by whoever serves the subject. body is the request's,
// which is not read; of the header a few fields are carried. The answer comes within a
// minute. The error wraps one of this package's, or is the connection's if the request
// was not sent.
func Forward(ctx context.Context, nc *nats.Conn, subject string, r *http.Request, body []byte) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	msg := nats.NewMsg(subject)
	msg.Header.Set(headerMethod, r.Method)
	msg.Header.Set(headerPath, r.URL.RequestURI())
	msg.Header.Set(headerFrom, r.RemoteAddr)
	copyHeader(http.Header(msg.Header), r.Header, requestHeaders())
	msg.Data = body
	reply, err := nc.RequestMsgWithContext(ctx, msg)
	switch {
	case err == nil:
		return answerOf(reply)
	case errors.Is(err, nats.ErrNoResponders):
		return Answer{}, ErrNobody
	case errors.Is(err, nats.ErrMaxPayload):
		return Answer{}, ErrTooLarge
	case errors.Is(err, nats.ErrReconnectBufExceeded): // there is no connection
		return Answer{}, fmt.Errorf("ask an administrator: %w", err)
	}
	return Answer{}, fmt.Errorf("%w: %w", ErrNoAnswer, err)
}

func answerOf(msg *nats.Msg) (Answer, error) {
	switch msg.Header.Get(headerError) {
	case overloaded:
		return Answer{}, ErrOverloaded
	case malformed:
		return Answer{}, ErrMalformed
	case answerTooLarge:
		return Answer{}, ErrAnswerTooLarge
	}
	status, err := strconv.Atoi(msg.Header.Get(headerStatus))
	if err != nil || status < 200 || status > 599 {
		return Answer{}, ErrBroken
	}
	a := Answer{Status: status, Header: http.Header{}, Body: msg.Data}
	copyHeader(a.Header, http.Header(msg.Header), answerHeaders())
	return a, nil
}

const cookie, setCookie = "Cookie", "Set-Cookie"

// The cookies of logins, and of one that was begun at a provider. No other is carried.
const (
	SessionCookie = "extsync_session"
	LoginCookie   = "extsync_login"
)

func isOurs(name string) bool { return name == SessionCookie || name == LoginCookie }

// ourCookies returns the field Cookie with our cookies only, all of them: two of one name
// are for the handler to refuse.
func ourCookies(from http.Header) string {
	var out []string
	for _, c := range (&http.Request{Header: from}).Cookies() {
		if isOurs(c.Name) {
			out = append(out, c.Name+"="+c.Value)
		}
	}
	return strings.Join(out, "; ")
}

// ourSetCookies returns the fields Set-Cookie that set one of ours.
func ourSetCookies(from http.Header) (out []string) {
	for _, text := range from[setCookie] {
		if c, err := http.ParseSetCookie(text); err == nil && isOurs(c.Name) {
			out = append(out, text)
		}
	}
	return out
}

// copyHeader copies the first value of some fields, and all cookies of ours.
func copyHeader(to, from http.Header, names []string) {
	for _, name := range names {
		value := from.Get(name)
		switch name {
		case cookie:
			value = ourCookies(from)
		case setCookie:
			if values := ourSetCookies(from); len(values) > 0 {
				to[name] = values
			}
			continue
		}
		if value != "" {
			to.Set(name, value)
		}
	}
}

type relayedKey struct{}

// Relayed reports whether a request came over NATS. What its RemoteAddr says is hearsay.
func Relayed(ctx context.Context) bool { return ctx.Value(relayedKey{}) != nil }
