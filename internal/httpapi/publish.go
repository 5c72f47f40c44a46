package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// maxWait bounds ?wait: balancers cut silent connections at about a minute.
	maxWait = 55 * time.Second
	minWait = 100 * time.Millisecond
	// maxChannels bounds one request to several channels.
	maxChannels    = 100
	publishTimeout = 5 * time.Second
)

// Published is what became of an update.
type Published struct {
	Receipt events.Receipt `json:"receipt" doc:"The broker has stored the update"`
	Ack     *events.Ack    `json:"ack,omitempty" doc:"What became of it, if that is known already"`
	See     string         `json:"see" doc:"Where to ask what became of it"`
}

// A Result is what became of one update of several.
type Result struct {
	Line    int      `json:"line,omitempty" doc:"The line of the request, from 1"`
	Channel string   `json:"channel,omitempty"`
	Status  int      `json:"status" doc:"What the update alone would have been answered with"`
	Problem *Problem `json:"problem,omitempty"`

	Receipt *events.Receipt `json:"receipt,omitempty"`
	Ack     *events.Ack     `json:"ack,omitempty"`
	See     string          `json:"see,omitempty"`
}

type publishInput struct {
	Channel        string `path:"channel" maxLength:"63"`
	Wait           string `query:"wait" doc:"How long to wait for the ack, 100ms to 55s" example:"10s"`
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"The same key with the same request gives the same answer, for 24 hours"`
	RawBody        []byte
	header
}

// header catches the whole header, for CloudEvents in binary mode.
type header struct{ h http.Header }

// Resolve is called by huma.
func (h *header) Resolve(ctx huma.Context) []error {
	h.h = http.Header{}
	ctx.EachHeader(func(name, value string) { h.h.Add(name, value) })
	return nil
}

type publishOutput struct {
	Status   int
	Location string `header:"Location"`
	Replayed string `header:"Idempotency-Replayed"`
	Body     *Published
}

func (s *server) updateBody(types ...string) *huma.RequestBody {
	body := &huma.RequestBody{Content: map[string]*huma.MediaType{}}
	for _, t := range types {
		m := &huma.MediaType{}
		if t == jsonType {
			m.Schema = huma.SchemaFromType(s.api.OpenAPI().Components.Schemas, typeOf[UpdateBody]())
		}
		body.Content[t] = m
	}
	return body
}

func (s *server) publishRoutes() {
	register(s, route{
		id: "publish-update", method: http.MethodPost, path: "/v1/channels/{channel}/updates", tag: "Updates",
		summary: "Publish one version of an entity", rule: publish, status: http.StatusAccepted, also: []int{http.StatusOK},
		body: s.updateBody(jsonType, cloudEventType, "*/*"), maxBody: s.maxBody,
	}, s.publishOne)
	register(s, route{
		id: "publish-to-channels", method: http.MethodPost, path: "/v1/updates", tag: "Updates",
		summary: "Publish one version of an entity on several channels", rule: publish, status: http.StatusMultiStatus,
		body: s.updateBody(jsonType), maxBody: s.maxBody,
	}, s.publishMany)
}

func (s *server) publishOne(ctx context.Context, in *publishInput) (*publishOutput, error) {
	wait, p := parseWait(in.Wait)
	if p != nil {
		return nil, p
	}
	d, p := decodeRequest(in.h, in.RawBody)
	if p != nil {
		return nil, p
	}
	u, p := d.update(s.o.Names, in.Channel)
	if p != nil {
		return nil, p
	}
	id := s.idem.request(ctx, in.IdempotencyKey, "publish", in.Channel, in.h, in.RawBody)
	result, replayed, err := s.idem.once(ctx, id, func() (Result, bool) {
		r := s.publish(ctx, u, wait, true)
		return r, r.settled(wait)
	})
	if err != nil {
		return nil, err
	}
	if replayed && result.Status == http.StatusAccepted && wait > 0 {
		s.awaitAgain(ctx, u, wait, &result)
	}
	if result.Problem != nil {
		return nil, result.Problem
	}
	out := &publishOutput{Status: result.Status, Location: result.See, Body: &Published{*result.Receipt, result.Ack, result.See}}
	if replayed {
		out.Replayed = "true"
	}
	return out, nil
}

// settled reports whether a repetition of the request shall get this answer: not
// one that will pass, nor one that lacks the ack that was waited for.
func (r *Result) settled(wait time.Duration) bool {
	return r.Status == http.StatusOK || r.Status == http.StatusAccepted && wait == 0 || r.Status == http.StatusConflict
}

// publish publishes an update within its quota, and waits for the ack if asked
// to.
func (s *server) publish(ctx context.Context, u events.Update, wait time.Duration, limit bool) Result {
	result := Result{Channel: u.Channel}
	if p := s.checkQuota(u, limit); p != nil {
		return result.failed(p)
	}
	var ack events.Ack
	var receipt events.Receipt
	var err error
	if wait == 0 {
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		receipt, err = s.o.Publisher.Publish(ctx, u)
	} else {
		ctx, cancel := s.waiting(ctx, wait)
		defer cancel()
		receipt, ack, err = s.o.Publisher.Request(ctx, u)
	}
	if err != nil && !errors.Is(err, events.ErrNoAck) {
		return result.failed(s.problemOf(err))
	}
	result.Receipt, result.See = &receipt, entityPath(u.Channel, u.Key)
	result.Status = http.StatusAccepted
	if wait > 0 && err == nil {
		result.Status, result.Ack = http.StatusOK, &ack
	}
	return result
}

func (r Result) failed(p *Problem) Result {
	r.Status, r.Problem = p.Status, p
	return r
}

// waiting is the context of somebody who waits: it ends early when the process
// does, so that who waits gets an answer.
func (s *server) waiting(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	stop := context.AfterFunc(s.o.Draining, cancel)
	return ctx, func() { stop(); cancel() }
}

// awaitAgain waits for the ack of an update that an earlier request has
// published.
func (s *server) awaitAgain(ctx context.Context, u events.Update, wait time.Duration, result *Result) {
	ctx, cancel := s.waiting(ctx, wait)
	defer cancel()
	_, ack, err := s.o.Publisher.Request(ctx, u)
	if errors.Is(err, events.ErrStale) { // something newer was published since
		ack, err = s.o.Publisher.Outcome(ctx, u.Channel, u.Key, u.Tag())
	}
	if err == nil {
		result.Status, result.Ack = http.StatusOK, &ack
	}
}

func (s *server) checkQuota(u events.Update, limit bool) *Problem {
	q := s.channels.get(u.Channel)
	if q.MaxPayload > 0 && int64(len(u.Payload)) > int64(q.MaxPayload) {
		p := problem(http.StatusRequestEntityTooLarge, "quota_payload", "the payload is larger than the channel takes ("+q.MaxPayload.String()+")")
		p.Channel = u.Channel
		return p
	}
	if !limit {
		return nil
	}
	if wait, ok := take(q.limiter); !ok {
		p := problem(http.StatusTooManyRequests, "quota_rate", "the channel is over its rate")
		p.Channel, p.retryAfter = u.Channel, wait
		return p
	}
	return nil
}

func entityPath(channel, key string) string {
	escaped := url.PathEscape(key)
	if key == "." || key == ".." { // else clients and servers take it for a step in the path
		escaped = strings.ReplaceAll(key, ".", "%2E")
	}
	return "/v1/channels/" + channel + "/entities/" + escaped
}

func parseWait(text string) (time.Duration, *Problem) {
	if text == "" || text == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < minWait || d > maxWait {
		return 0, invalid(FieldError{Location: "query.wait", Message: "it is not a duration in " + minWait.String() + ".." + maxWait.String()})
	}
	return d, nil
}

type publishManyInput struct {
	Wait           string `query:"wait" doc:"How long to wait for the acks, 100ms to 55s" example:"10s"`
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"The same key with the same request gives the same answer, for 24 hours"`
	RawBody        []byte
	header
}

type resultsOutput struct {
	Status   int
	Replayed string `header:"Idempotency-Replayed"`
	Body     struct {
		Results []Result `json:"results" doc:"One for each channel, in their order"`
	}
}

// publishMany publishes on each channel on its own: some may take the update and
// others not, and repeating the request is safe.
func (s *server) publishMany(ctx context.Context, in *publishManyInput) (*resultsOutput, error) {
	wait, p := parseWait(in.Wait)
	if p != nil {
		return nil, p
	}
	d, p := decodeRequest(in.h, in.RawBody)
	if p != nil {
		return nil, p
	}
	names := slices.Compact(slices.Sorted(slices.Values(d.channels)))
	if len(names) == 0 || len(names) > maxChannels || len(names) != len(d.channels) {
		d.fail("channels", "1 to %s different ones are needed", strconv.Itoa(maxChannels))
		return nil, invalid(d.bad...)
	}
	out := &resultsOutput{Status: http.StatusMultiStatus}
	out.Body.Results = make([]Result, len(names))
	done := make(chan struct{})
	for i, name := range d.channels {
		go func() {
			defer func() { done <- struct{}{} }()
			out.Body.Results[i] = s.publishTo(ctx, d, name, wait, in)
		}()
	}
	for range names {
		<-done
	}
	return out, nil
}

func (s *server) publishTo(ctx context.Context, d *draft, channel string, wait time.Duration, in *publishManyInput) Result {
	result := Result{Channel: clip(channel)}
	if !callerOf(ctx).allows(channel) {
		return result.failed(forbidden("the token is not for this channel"))
	}
	u, p := d.update(s.o.Names, channel)
	if p != nil {
		return result.failed(p)
	}
	id := s.idem.request(ctx, in.IdempotencyKey, "publish-many", channel, in.h, in.RawBody)
	result, replayed, err := s.idem.once(ctx, id, func() (Result, bool) {
		r := s.publish(ctx, u, wait, true)
		return r, r.settled(wait)
	})
	if err != nil {
		return Result{Channel: channel}.failed(s.problemOf(err))
	}
	if replayed && result.Status == http.StatusAccepted && wait > 0 {
		s.awaitAgain(ctx, u, wait, &result)
	}
	return result
}
