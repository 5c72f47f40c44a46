package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/schema"
)

type topicInput struct {
	Topic string `path:"topic" maxLength:"63"`
}

type topicOutput struct {
	ETag string `header:"ETag"`
	Body operate.TopicConfig
}

type topicsOutput struct{ Body operate.TopicList }

type putTopicInput struct {
	Topic string `path:"topic" maxLength:"63"`
	Putting
	RawBody []byte `contentType:"application/json"`
}

type putTopicOutput struct {
	Status int
	ETag   string `header:"ETag"`
	Body   operate.TopicChange
}

type deleteTopicInput struct {
	Topic   string `path:"topic" maxLength:"63"`
	IfMatch string `header:"If-Match" maxLength:"40"`
	Confirm string `query:"confirm" maxLength:"63" doc:"The topic's name. Without it nothing is deleted, and the answer says how many keys it holds"`
}

type deleteTopicOutput struct{ Body operate.Topic }

type publishTopicInput struct {
	Topic          string `path:"topic" maxLength:"63"`
	Wait           string `query:"wait" doc:"How long to wait for the outcome in each channel that reads the topic, 100ms to 55s" example:"10s"`
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"The same key with the same request gives the same answer, for 24 hours"`
	RawBody        []byte
	header
}

type publishTopicOutput struct {
	Status   int
	Location string `header:"Location"`
	Replayed string `header:"Idempotency-Replayed"`
	Body     operate.TopicPublished
}

type topicEntityInput struct {
	Topic string `path:"topic" maxLength:"63"`
	Key   string `path:"key" maxLength:"1024"`
}

type topicEntityOutput struct{ Body operate.Wanted }

type waitTopicInput struct {
	Topic string `path:"topic" maxLength:"63"`
	Key   string `path:"key" maxLength:"1024"`
	Awaited
}

type waitTopicOutput struct{ Body operate.TopicPublished }

func (s *server) topicRoutes() {
	one := "/v1/topics/{topic}"
	register(s, route{
		id: "list-topics", method: http.MethodGet, path: "/v1/topics", tag: "Topics",
		summary: "List the topics, and the channels that read them", rule: read, status: http.StatusOK,
	}, s.listTopics)
	register(s, route{
		id: "get-topic", method: http.MethodGet, path: one, tag: "Topics",
		summary: "Show a topic, and the channels that read it", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *topicInput) (*topicOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		t, err := s.o.Client.Topic(ctx, in.Topic, callerOf(ctx).allows)
		return &topicOutput{ETag: etag(t.Revision), Body: t}, err
	})
	register(s, route{
		id: "put-topic", method: http.MethodPut, path: one, tag: "Topics",
		summary: "Make or change a topic", rule: configuring, status: http.StatusOK, also: []int{http.StatusCreated}, maxBody: maxAdminBody,
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: topicSchema()}}},
	}, s.putTopic)
	register(s, route{
		id: "delete-topic", method: http.MethodDelete, path: one, tag: "Topics",
		summary: "Delete a topic that no channel reads, for good", rule: configuring, status: http.StatusOK,
	}, s.deleteTopic)
	register(s, route{
		id: "publish-to-topic", method: http.MethodPost, path: one + "/updates", tag: "Updates",
		summary: "Publish one version of an entity to all channels that read a topic", rule: publishing, status: http.StatusAccepted, also: []int{http.StatusOK},
		body: s.updateBody(jsonType, cloudEventType, "*/*"), maxBody: s.maxBody,
	}, s.publishToTopic)
	register(s, s.batchOf(route{id: "publish-batch-to-topic", path: one + batchSuffix, summary: "Publish many updates to a topic, one JSON object a line"}),
		func(_ context.Context, in *topicInput) (*huma.StreamResponse, error) {
			return s.batching(events.ToTopic(in.Topic)), nil
		})
	register(s, route{
		id: "get-topic-entity", method: http.MethodGet, path: one + "/entities/{key}", tag: "Entities",
		summary: "Which version of a key does a topic hold?", rule: read, status: http.StatusOK,
	}, s.getTopicEntity)
	register(s, route{
		id: "wait-for-topic-entity", method: http.MethodGet, path: one + "/entities/{key}/outcome", tag: "Entities",
		summary: "Wait until a version has an outcome in each channel that reads a topic", rule: read, status: http.StatusOK,
	}, s.waitForTopicEntity)
}

func (s *server) listTopics(ctx context.Context, _ *struct{}) (*topicsOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	c := callerOf(ctx)
	list, err := s.o.Client.Topics(ctx, c.allowsTopic, c.allows)
	if err != nil && len(list.Topics) == 0 {
		return nil, err
	}
	s.logPartial(err, "topics")
	return &topicsOutput{Body: list}, nil
}

// decodeTopic reads a configuration as decodeChannel does.
func decodeTopic(name string, body []byte) (channels.Topic, error) {
	var t channels.Topic
	err := decodeNamed(name, body, &t, &t.Name, func() error { return t.Validate() })
	return t.WithDefaults(), err
}

// topicSchema is channelSchema for a topic.
func topicSchema() *huma.Schema {
	out := schema.For[channels.Topic]().JSON()
	delete(out, "required")
	out["description"] = "A topic, as in the files of `extsync topics apply`"
	return &huma.Schema{Extensions: out}
}

func (s *server) putTopic(ctx context.Context, in *putTopicInput) (*putTopicOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	t, err := decodeTopic(in.Topic, in.RawBody)
	if err != nil {
		return nil, err
	}
	change, err := s.acting(ctx).PutTopic(ctx, t, in.DryRun, func(revision uint64) error { return in.precondition("topic", revision) })
	if err != nil {
		return nil, err
	}
	out := &putTopicOutput{Body: change}
	out.Status, out.ETag = in.done(change.Change, change.Revision)
	return out, nil
}

func (s *server) deleteTopic(ctx context.Context, in *deleteTopicInput) (*deleteTopicOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	t, err := s.o.Client.Topic(ctx, in.Topic, nil)
	if err != nil {
		return nil, err
	}
	if in.IfMatch != "" && in.IfMatch != etag(t.Revision) {
		return nil, problem(http.StatusPreconditionFailed, "changed_meanwhile", "the topic is at ETag "+etag(t.Revision))
	}
	read := problem(http.StatusConflict, "topic_read", "channels read the topic; delete them first") // a limited token may not hear of all of them
	if in.Confirm != in.Topic && len(t.Channels) > 0 {
		if callerOf(ctx).limited() {
			return nil, read
		}
		return nil, fmt.Errorf("%w: %s", channels.ErrTopicRead, strings.Join(t.Channels, ", "))
	}
	if in.Confirm != in.Topic {
		p := problem(http.StatusConflict, "confirm", "nothing was deleted: the topic holds "+strconv.FormatUint(t.Keys, 10)+" keys; repeat with ?confirm="+in.Topic)
		p.Topic, p.Confirm = in.Topic, in.Topic
		return nil, p
	}
	err = s.acting(ctx).DeleteTopic(ctx, t.Topic)
	if errors.Is(err, channels.ErrTopicRead) && callerOf(ctx).limited() {
		return nil, read
	}
	return &deleteTopicOutput{Body: t.Topic}, err
}

func (s *server) publishToTopic(ctx context.Context, in *publishTopicInput) (*publishTopicOutput, error) {
	r, replayed, err := s.publishAlone(ctx, events.ToTopic(in.Topic), in.IdempotencyKey, in.Wait, in.h, in.RawBody)
	if err != nil {
		return nil, err
	}
	return &publishTopicOutput{
		Status: r.Status, Location: r.See, Replayed: replayed,
		Body: operate.TopicPublished{Receipt: *r.Receipt, Outcome: r.Outcome, Channels: r.Channels},
	}, nil
}

func (s *server) getTopicEntity(ctx context.Context, in *topicEntityInput) (*topicEntityOutput, error) {
	if err := checkKey(in.Key); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	wanted, err := s.o.Client.TopicKey(ctx, in.Topic, in.Key)
	return &topicEntityOutput{Body: wanted}, err
}

// waitForTopicEntity answers when the time is over, too: unlike a channel, a topic has
// something to say before all is over.
func (s *server) waitForTopicEntity(ctx context.Context, in *waitTopicInput) (*waitTopicOutput, error) {
	if err := checkKey(in.Key); err != nil {
		return nil, err
	}
	version, timeout, err := in.parse()
	if err != nil {
		return nil, err
	}
	waiting, cancel := s.waiting(ctx, timeout)
	defer cancel()
	p, err := s.o.Client.AwaitTopic(waiting, events.Update{Topic: in.Topic, Key: in.Key, Version: version}, callerOf(ctx).allows)
	if err == nil && s.o.Draining.Err() != nil && len(p.Open()) > 0 {
		err = fmt.Errorf("this instance is stopping; ask again: %w", context.Canceled)
	}
	return &waitTopicOutput{Body: p}, err
}
