// Package httpapi is the HTTP API of the publisher: for services that do not
// speak NATS, and for administration.
package httpapi

import (
	"context"
	"maps"
	"net/http"
	"path"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/rs/zerolog"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// Options are what the API works with. All but Forward, Metrics and TokenRefused are required.
type Options struct {
	// Client does what the API is asked for; operate.Client.Keeping returns one.
	Client    *operate.Client
	Publisher Publisher
	Tokens    *tokens.Cache
	// Forward has what an administrator's role at the broker is needed for, or what is
	// recorded, done by an administrator: this instance's role does not let it.
	Forward bool
	Logger  zerolog.Logger
	// Metrics returns what is served at /metrics to who may see these channels; allows
	// is nil for who may see all. Nil: there is none.
	Metrics func(allows func(channel string) bool) http.Handler
	// TokenRefused, if not nil, is called for each request that is refused for want of
	// a token that will do, with the reason of the problem. It must not block.
	TokenRefused func(reason string)
	// Sessions and SessionKeys are of people who log in; SessionKeys need not verify or
	// sign where nobody is asked for a token, or at a gateway.
	Sessions    *sessions.Store
	SessionKeys sessions.Keys
	// OIDC says where people may log in; Provider is nil if that is nowhere, or not for
	// this instance to do.
	OIDC     sessions.OIDC
	Provider *sessions.Provider
	// Place is a short name of the installation.
	Place   string
	Version string
	// Draining ends when the process is asked to end: whoever waits is answered
	// then, and /readyz says no.
	Draining context.Context //nolint:containedctx // it is a signal, not the context of a call
}

const (
	maxHeaderBytes = 64 << 10
	// maxInFlight and bodyBudget bound what all requests together hold.
	maxInFlight = 4096
	bodyBudget  = 256 << 20
	// bodyTimeout is how long a client may take to send a body, or a line of one,
	// writeTimeout how long it may take to read an answer, or a part of one.
	bodyTimeout  = 30 * time.Second
	writeTimeout = 30 * time.Second
	maxAdminBody = 1 << 20
)

type server struct {
	o        Options
	registry *channels.Registry
	api      huma.API
	channels *channelCache
	idem     *idempotency
	maxBody  int64
	inFlight *semaphore.Weighted
	bodies   shares
	refusals refusalLog
	ready    readiness
	board    *operate.Board
	rates    rates
	guesses  guesses

	crossOrigin *http.CrossOriginProtection
}

// New returns the API. Keep of the tokens and the returned keep must run as long
// as it is served.
func New(ctx context.Context, o Options) (h http.Handler, keep func(context.Context), err error) {
	s := &server{
		o: o, board: o.Client.Board(), inFlight: semaphore.NewWeighted(maxInFlight), bodies: shares{held: map[string]int64{}},
		crossOrigin: http.NewCrossOriginProtection(),
		refusals:    refusalLog{log: o.Logger, limiter: rate.NewLimiter(rate.Every(refusalEvery), 1)},
		// base64 needs four bytes for three.
		maxBody: o.Client.JS.Conn().MaxPayload()*3/2 + maxHeaderBytes,
	}
	if s.registry, err = o.Client.Registry(ctx); err != nil {
		return nil, nil, err
	}
	if s.channels, err = newChannelCache(ctx, s.registry); err != nil {
		return nil, nil, err
	}
	if s.idem, err = openIdempotency(ctx, o.Client.JS, o.Client.Names); err != nil {
		return nil, nil, err
	}
	s.board.Jobs, s.board.NoActs = (&liveJobs{client: o.Client}).latest, o.Forward
	mux := http.NewServeMux()
	cfg := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "extsync publisher", Version: o.Version, Description: "Publish updates, ask what became of them, and manage channels."},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					tokenScheme:   {Type: "http", Scheme: "bearer", Description: "A token made by `extsync tokens create`. Each operation names the scope that it needs."},
					sessionScheme: {Type: "apiKey", In: "cookie", Name: sessionCookie, Description: "Of a login, see POST /v1/session. It counts where there is no token, for the scopes of who has logged in."},
				},
			},
		},
		OpenAPIPath:   "", // served below, with a rule like every other route
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{transform},

		RejectUnknownQueryParameters: true,
	}
	s.api = humago.New(mux, cfg)
	s.api.UseMiddleware(s.authorise)
	s.publishRoutes()
	s.batchRoute()
	s.lookupRoutes()
	s.acksRoute()
	s.channelRoutes()
	s.topicRoutes()
	s.statusRoutes()
	s.overviewRoutes()
	s.activityRoutes()
	s.eventsRoute()
	s.searchRoute()
	s.resyncRoutes()
	s.tryRoutes()
	s.deadRoutes()
	s.jobRoutes()
	s.contentRoutes()
	s.dryRunRoute()
	s.kindsRoute()
	s.installationRoutes()
	s.sessionRoutes()
	s.accessRoutes()
	s.serviceRoutes()
	if err := s.consoleRoutes(mux); err != nil {
		return nil, nil, err
	}
	return s.guard(mux), s.channels.keep, nil
}

// NewHTTPServer returns a server with the limits that the API wants.
func NewHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
	}
}

// A rule says who may use a route.
type rule string

const (
	tokenScheme   = "token"
	sessionScheme = "session"
	relaysKey     = "relays"
	// public routes tell nothing about anybody's data.
	public      rule = "public"
	publishing       = rule(tokens.Publish)
	read             = rule(tokens.Read)
	contents         = rule(tokens.Payload)
	operating        = rule(tokens.Operate)
	configuring      = rule(tokens.Configure)
	admin            = rule(tokens.Admin)
)

// route describes an operation; register adds it. There is no route without a
// rule: the zero rule lets nobody in.
type route struct {
	id, method, path, summary, tag string
	rule                           rule
	relays                         bool // a gateway has an administrator answer it, although its scope does not need one
	status                         int
	also                           []int // further statuses of success, with the same body
	body                           *huma.RequestBody
	maxBody                        int64
	responses                      map[string]*huma.Response
}

func register[I, O any](s *server, r route, handler func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: r.path, Summary: r.summary, Tags: []string{r.tag},
		DefaultStatus: r.status, RequestBody: r.body, MaxBodyBytes: r.maxBody, BodyReadTimeout: bodyTimeout,
		SkipValidateBody: true, // the schema is for people; our own decoders know more
		Responses:        map[string]*huma.Response{}, Security: []map[string][]string{},
	}
	if r.rule != public {
		op.Security = []map[string][]string{{tokenScheme: {string(r.rule)}}, {sessionScheme: {}}}
	}
	if r.relays {
		op.Metadata = map[string]any{relaysKey: true}
	}
	schemas := s.api.OpenAPI().Components.Schemas
	op.Responses["default"] = &huma.Response{
		Description: "What went wrong",
		Content:     map[string]*huma.MediaType{problemType: {Schema: huma.SchemaFromType(schemas, typeOf[Problem]())}},
	}
	for status, resp := range r.responses {
		op.Responses[status] = resp
	}
	var content map[string]*huma.MediaType
	if r.body != nil {
		content = maps.Clone(r.body.Content)
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			return nil, s.problemOf(err)
		}
		return out, nil
	})
	if r.body != nil {
		r.body.Content = content // huma takes a body that we read ourselves for bytes
	}
	for _, status := range r.also {
		op.Responses[statusText(status)] = op.Responses[statusText(r.status)]
	}
}

// schemaName puts the package in front of the names of other packages' types:
// some have the same.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if base := path.Base(t.PkgPath()); t.Name() != "" && base != "httpapi" && base != "." {
		return strings.ToUpper(base[:1]) + base[1:] + name
	}
	return name
}

// A Publisher publishes updates: an *publish.Publisher, or one that is measured.
type Publisher interface {
	Publish(ctx context.Context, u events.Update) (events.Receipt, error)
	Request(ctx context.Context, u events.Update) (events.Receipt, events.Ack, error)
	RequestTopic(ctx context.Context, u events.Update, channels []string) (events.Receipt, []events.Ack, error)
	Outcome(ctx context.Context, channel, key string, tag versioning.Tag) (events.Ack, error)
}
