package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/schema"
)

// adminTimeout bounds an administrative act; changing the partitions waits for
// the workers, up to half a minute.
const adminTimeout = 45 * time.Second

type channelInput struct {
	Channel string `path:"channel" maxLength:"63"`
}

type channelOutput struct {
	ETag string `header:"ETag"`
	Body operate.ChannelConfig
}

type channelsOutput struct{ Body operate.ChannelList }

type putInput struct {
	Channel string `path:"channel" maxLength:"63"`
	Putting
	RawBody []byte `contentType:"application/json"`
}

// Putting says what the caller of a PUT has seen.
type Putting struct {
	IfMatch     string `header:"If-Match" maxLength:"40" doc:"The ETag of what is changed"`
	IfNoneMatch string `header:"If-None-Match" maxLength:"40" doc:"* for one that must be new"`
	DryRun      bool   `query:"dry_run" doc:"Validate, and show the difference; change nothing"`
}

type deleteInput struct {
	Channel string `path:"channel" maxLength:"63"`
	IfMatch string `header:"If-Match" maxLength:"40"`
	Confirm string `query:"confirm" maxLength:"63" doc:"The channel's name. Without it nothing is deleted, and the answer says what is undelivered"`
}

type putOutput struct {
	Status int
	ETag   string `header:"ETag"`
	Body   operate.Change
}

type deleteOutput struct{ Body operate.Deletion }

type probeOutput struct{ Body operate.Probed }

func (s *server) channelRoutes() {
	one := "/v1/channels/{channel}"
	register(s, route{
		id: "list-channels", method: http.MethodGet, path: "/v1/channels", tag: "Channels",
		summary: "List the channels", rule: read, status: http.StatusOK,
	}, s.listChannels)
	register(s, route{
		id: "get-channel", method: http.MethodGet, path: one, tag: "Channels",
		summary: "Show a channel's configuration", rule: configuring, status: http.StatusOK,
	}, func(ctx context.Context, in *channelInput) (*channelOutput, error) {
		return answerChannel(s.o.Client.Channel(ctx, in.Channel))
	})
	register(s, route{
		id: "put-channel", method: http.MethodPut, path: one, tag: "Channels",
		summary: "Make or change a channel", rule: configuring, status: http.StatusOK, also: []int{http.StatusCreated}, maxBody: maxAdminBody,
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: channelSchema(s.o.Client.Catalog)}}},
	}, s.putChannel)
	register(s, route{
		id: "delete-channel", method: http.MethodDelete, path: one, tag: "Channels",
		summary: "Delete a channel; it can be restored for 7 days", rule: configuring, status: http.StatusOK,
	}, s.deleteChannel)
	register(s, route{
		id: "probe-channel", method: http.MethodPost, path: one + "/probe", tag: "Channels",
		summary: "Try a target at once that a channel waits for", rule: operating, status: http.StatusOK,
	}, s.probeChannel)
	for _, r := range []struct {
		step    operate.Step
		rule    rule
		summary string
	}{
		{operate.Pause, operating, "Hold a channel's deliveries back"},
		{operate.Resume, operating, "Let a paused channel go on"},
		{operate.Restore, configuring, "Bring a deleted channel back"},
		{operate.Reload, operating, "Have the workers read a channel's secrets again"},
	} {
		register(s, route{
			id: string(r.step) + "-channel", method: http.MethodPut, path: one + "/" + string(r.step), tag: "Channels",
			summary: r.summary, rule: r.rule, status: http.StatusOK,
		}, func(ctx context.Context, in *channelInput) (*channelOutput, error) {
			ctx, cancel := context.WithTimeout(ctx, adminTimeout)
			defer cancel()
			return answerChannel(s.acting(ctx).Change(ctx, in.Channel, r.step))
		})
	}
}

// acting returns a client that acts for the caller.
func (s *server) acting(ctx context.Context) *operate.Client {
	c := callerOf(ctx)
	return s.o.Client.As(c.actor(), c.from)
}

func (s *server) probeChannel(ctx context.Context, in *channelInput) (*probeOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	probed, err := s.acting(ctx).Probe(ctx, in.Channel)
	return &probeOutput{Body: probed}, err
}

func (s *server) listChannels(ctx context.Context, _ *struct{}) (*channelsOutput, error) {
	list, err := s.o.Client.Channels(ctx, callerOf(ctx).allows)
	if err != nil && len(list.Channels) == 0 {
		return nil, err
	}
	s.logPartial(err, "channels")
	return &channelsOutput{Body: list}, nil
}

// logPartial says that a list lacks some: one that cannot be read hides no other.
func (s *server) logPartial(err error, what string) {
	if err != nil {
		s.o.Logger.Error().Err(err).Msg("some " + what + " cannot be read, and are not in the list")
	}
}

func etag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

func answerChannel(c operate.ChannelConfig, err error) (*channelOutput, error) {
	if err != nil {
		return nil, err
	}
	return &channelOutput{ETag: etag(c.Revision), Body: c}, nil
}

// decodeChannel reads a configuration strictly, fills in its defaults and validates it. The
// problem names every bad field.
func (s *server) decodeChannel(name string, body []byte) (channels.Config, error) {
	var c channels.Config
	err := decodeNamed(name, body, &c, &c.Name, func() error { return c.Validate(s.o.Client.Catalog) })
	return c.WithDefaults(), err
}

// decodeNamed reads the configuration of what has a name in the address, and may have the
// same one in the body, and validates it. The problem names every bad field.
func decodeNamed(name string, body []byte, into any, own *string, validate func() error) error {
	if len(body) == 0 || !json.Valid(body) { // the decoder would take YAML too
		return invalid(FieldError{Location: "body", Message: "it is not valid JSON"})
	}
	var p connectors.Problems
	p.Decode(body, into)
	if *own != "" && *own != name {
		p.Add("name", "it is not the name in the address")
	}
	*own = name
	p.AddError("", validate()) // what is left out has its default: a zero was written
	return badConfig(p.Err())
}

// channelSchema is the schema of what PUT takes: a channel as in files, whose name may be
// left to the address.
func channelSchema(catalog *connectors.Catalog) *huma.Schema {
	out := channels.Schema(catalog)
	out["required"] = []string{"connector"}
	out["description"] = "A channel, as in the files of `extsync channels apply`"
	return &huma.Schema{Extensions: out}
}

// badConfig returns the problem of a body that is no valid configuration; nil for nil.
func badConfig(err error) error {
	var e *schema.Error
	if !errors.As(err, &e) {
		return err
	}
	out := problem(http.StatusUnprocessableEntity, "invalid", err.Error())
	for _, one := range e.Problems {
		location := strings.TrimSuffix("body."+one.Path, ".")
		out.Errors = append(out.Errors, FieldError{Location: location, Message: one.Message})
	}
	return out
}

func (s *server) putChannel(ctx context.Context, in *putInput) (*putOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	c, err := s.decodeChannel(in.Channel, in.RawBody)
	if err != nil {
		return nil, err
	}
	if c.From != nil && !callerOf(ctx).allowsTopic(c.From.Topic) {
		return nil, forbidden("the token is not for the topic that the channel would read") // else it would see all of it
	}
	change, err := s.acting(ctx).Put(ctx, c, in.DryRun, func(revision uint64) error { return in.precondition("channel", revision) })
	if err != nil {
		return nil, err
	}
	out := &putOutput{Body: change}
	out.Status, out.ETag = in.done(change.Change, change.Revision)
	return out, nil
}

// done returns the status and the ETag of what was put.
func (in *Putting) done(change channels.Change, revision uint64) (status int, tag string) {
	if revision > 0 {
		tag = etag(revision)
	}
	if change == channels.Created && !in.DryRun {
		return http.StatusCreated, tag
	}
	return http.StatusOK, tag
}

// precondition wants to know what the caller has seen of a channel or topic: else two people
// who change it at once would not notice each other. A dry run changes nothing.
func (in *Putting) precondition(what string, revision uint64) error {
	switch {
	case in.IfNoneMatch == "*":
		if revision != 0 {
			return problem(http.StatusPreconditionFailed, "exists", "the "+what+" exists")
		}
	case in.IfMatch != "" && revision == 0:
		return problem(http.StatusPreconditionFailed, "changed_meanwhile", "there is no such "+what+"; If-None-Match: * makes it")
	case in.IfMatch != "" && in.IfMatch != "*":
		if in.IfMatch != etag(revision) {
			return problem(http.StatusPreconditionFailed, "changed_meanwhile", "the "+what+" is at ETag "+etag(revision))
		}
	case in.IfMatch == "" && !in.DryRun:
		return problem(http.StatusPreconditionRequired, "precondition", "give If-Match with the ETag of GET, or If-None-Match: * for a new "+what)
	}
	return nil
}

func (s *server) deleteChannel(ctx context.Context, in *deleteInput) (*deleteOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	d, err := s.o.Client.PlanDeletion(ctx, in.Channel)
	if err != nil {
		return nil, err
	}
	if revision := d.Entry.Revision; in.IfMatch != "" && in.IfMatch != etag(revision) {
		return nil, problem(http.StatusPreconditionFailed, "changed_meanwhile", "the channel is at ETag "+etag(revision))
	}
	if in.Confirm != in.Channel {
		p := problem(http.StatusConflict, "confirm", "nothing was deleted: "+d.Backlog.String()+" updates are undelivered; repeat with ?confirm="+in.Channel)
		p.Channel, p.Undelivered, p.Confirm = in.Channel, &d.Undelivered, in.Channel
		return nil, p
	}
	d, err = s.acting(ctx).Delete(ctx, d)
	return &deleteOutput{Body: d}, err
}
