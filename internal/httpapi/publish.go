package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/schema"
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

	// Outcome and Channels are in place of Ack for a topic, which answers one update alone.
	Outcome  operate.TopicOutcome  `json:"outcome,omitempty" hidden:"true"`
	Channels []operate.TopicAnswer `json:"channels,omitempty" hidden:"true"`
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
		summary: "Publish one version of an entity", rule: publishing, status: http.StatusAccepted, also: []int{http.StatusOK},
		body: s.updateBody(jsonType, cloudEventType, "*/*"), maxBody: s.maxBody,
	}, s.publishOne)
	register(s, route{
		id: "publish-to-channels", method: http.MethodPost, path: "/v1/updates", tag: "Updates",
		summary: "Publish one version of an entity on several channels", rule: publishing, status: http.StatusMultiStatus,
		body: s.updateBody(jsonType), maxBody: s.maxBody,
	}, s.publishMany)
}

func (s *server) publishOne(ctx context.Context, in *publishInput) (*publishOutput, error) {
	result, replayed, err := s.publishAlone(ctx, events.ToChannel(in.Channel), in.IdempotencyKey, in.Wait, in.h, in.RawBody)
	if err != nil {
		return nil, err
	}
	return &publishOutput{Status: result.Status, Location: result.See, Replayed: replayed, Body: &Published{*result.Receipt, result.Ack, result.See}}, nil
}

// publishAlone publishes the update of a request, which has nothing else. replayed is what to
// say in the header of an answer that an earlier request got.
func (s *server) publishAlone(ctx context.Context, route events.Route, key, waiting string, h http.Header, body []byte) (result Result, replayed string, err error) {
	wait, p := parseWait("wait", waiting)
	if p != nil {
		return Result{}, "", p
	}
	d, p := decodeRequest(h, body)
	if p != nil {
		return Result{}, "", p
	}
	u, p := d.update(s.o.Client.Names, route)
	if p != nil {
		return Result{}, "", p
	}
	result, again, err := s.publishOnce(ctx, u, wait, s.idem.request(ctx, key, "publish", route, h, body))
	switch {
	case err != nil:
		return Result{}, "", err
	case result.Problem != nil:
		return Result{}, "", result.Problem
	case again:
		replayed = "true"
	}
	return result, replayed, nil
}

// publishOnce publishes an update unless the same request did, and waits if asked to.
func (s *server) publishOnce(ctx context.Context, u events.Update, wait time.Duration, id requestID) (result Result, replayed bool, err error) {
	result, replayed, err = s.idem.once(ctx, id, func() (Result, bool) {
		r := s.publish(ctx, u, wait, true)
		return r, r.settled(wait)
	})
	if err == nil && replayed && result.Status == http.StatusAccepted && wait > 0 {
		s.awaitAgain(ctx, u, wait, &result)
	}
	return result, replayed, err
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
	result.Status, result.See = http.StatusAccepted, entityPath(u.Route(), u.Key)
	var ack events.Ack
	var receipt events.Receipt
	var err error
	switch {
	case wait == 0:
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		receipt, err = s.o.Publisher.Publish(ctx, u)
	case u.Topic != "":
		ctx, cancel := s.waiting(ctx, wait+publishTimeout)
		defer cancel()
		var p operate.TopicPublished
		p, err = s.o.Client.PublishTopic(ctx, s.o.Publisher, u, wait, callerOf(ctx).allows)
		receipt = p.Receipt
		result.became(&p)
	default:
		ctx, cancel := s.waiting(ctx, wait)
		defer cancel()
		receipt, ack, err = s.o.Publisher.Request(ctx, u)
		if err == nil {
			result.Status, result.Ack = http.StatusOK, &ack
		}
	}
	if err != nil && !errors.Is(err, events.ErrNoAck) {
		return Result{Channel: u.Channel}.failed(s.problemOf(err))
	}
	result.Receipt = &receipt
	return result
}

// became notes what became of a topic's update. As for a channel, 202 says that there is an
// outcome to wait for.
func (r *Result) became(p *operate.TopicPublished) {
	r.Outcome, r.Channels = p.Outcome, p.Channels
	if len(p.Open()) == 0 {
		r.Status = http.StatusOK
	}
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

// awaitAgain waits for what becomes of an update that an earlier request has
// published.
func (s *server) awaitAgain(ctx context.Context, u events.Update, wait time.Duration, result *Result) {
	ctx, cancel := s.waiting(ctx, wait)
	defer cancel()
	if u.Topic != "" {
		if p, err := s.o.Client.AwaitTopic(ctx, u, callerOf(ctx).allows); err == nil {
			result.became(&p)
		}
		return
	}
	_, ack, err := s.o.Publisher.Request(ctx, u)
	if errors.Is(err, events.ErrStale) { // something newer was published since
		ack, err = s.o.Publisher.Outcome(ctx, u.Channel, u.Key, u.Tag())
	}
	if err == nil {
		result.Status, result.Ack = http.StatusOK, &ack
	}
}

func (s *server) checkQuota(u events.Update, limit bool) *Problem {
	q := s.channels.get(u.Route())
	if q.MaxPayload > 0 && int64(len(u.Payload)) > int64(q.MaxPayload) {
		p := problem(http.StatusRequestEntityTooLarge, "quota_payload", "the payload is larger than "+u.Route().String()+" takes ("+q.MaxPayload.String()+")")
		p.Channel, p.Topic = u.Channel, u.Topic
		return p
	}
	if !limit {
		return nil
	}
	if wait, ok := take(q.limiter); !ok {
		p := problem(http.StatusTooManyRequests, "quota_rate", u.Route().String()+" is over its rate")
		p.Channel, p.Topic, p.retryAfter = u.Channel, u.Topic, wait
		return p
	}
	return nil
}

func entityPath(route events.Route, key string) string {
	escaped := url.PathEscape(key)
	if key == "." || key == ".." { // else clients and servers take it for a step in the path
		escaped = strings.ReplaceAll(key, ".", "%2E")
	}
	if route.Topic() != "" {
		return "/v1/topics/" + route.Name() + "/entities/" + escaped
	}
	return "/v1/channels/" + route.Name() + "/entities/" + escaped
}

func parseWait(parameter, text string) (time.Duration, *Problem) {
	if text == "" || text == "0" {
		return 0, nil
	}
	d, err := schema.ParseDuration(text)
	if err != nil {
		return 0, invalid(FieldError{Location: "query." + parameter, Message: err.Error()})
	}
	if d < minWait || d > maxWait {
		return 0, invalid(FieldError{Location: "query." + parameter, Message: text + " is outside " + minWait.String() + ".." + maxWait.String()})
	}
	return d, nil
}
