package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/events"
)

type startJobInput struct {
	RawBody []byte `contentType:"application/json"`
}

// A JobStart is the answer to a job that is to be started: the job, or with dry_run its plan.
type JobStart struct {
	Plan *operate.Plan `json:"plan,omitempty" doc:"With dry_run: what the job would do"`
	Job  *jobs.Job     `json:"job,omitempty" doc:"The job that was started"`
}

type startJobOutput struct {
	Status int
	Body   JobStart
}

type jobInput struct {
	Job string `path:"job" maxLength:"40"`
}

type stopJobInput struct {
	Job    string `path:"job" maxLength:"40"`
	Reason string `query:"reason" maxLength:"1000" doc:"Why, for the audit log"`
}

type jobOutput struct{ Body jobs.Job }

type listJobsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" maxLength:"40" doc:"Of the page before"`
}

type listJobsOutput struct{ Body jobs.Page }

func (s *server) jobRoutes() {
	const all, one = "/v1/jobs", "/v1/jobs/{job}"
	schema := huma.SchemaFromType(s.api.OpenAPI().Components.Schemas, typeOf[operate.JobRequest]())
	register(s, route{
		id: "start-job", method: http.MethodPost, path: all, tag: "Jobs", maxBody: maxAdminBody,
		summary: "Have many dead letters sent again or given up, or many keys delivered again", rule: operating,
		status: http.StatusAccepted, also: []int{http.StatusOK},
		body: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{jsonType: {Schema: schema}}},
	}, s.startJob)
	register(s, route{
		id: "list-jobs", method: http.MethodGet, path: all, tag: "Jobs",
		summary: "List jobs, the latest first", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *listJobsInput) (*listJobsOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		store, err := s.o.Client.Jobs(ctx)
		if err != nil {
			return nil, err
		}
		page, err := store.List(ctx, in.Limit, in.Cursor, callerOf(ctx).sees)
		return &listJobsOutput{Body: page}, cursorProblem(err)
	})
	register(s, route{
		id: "get-job", method: http.MethodGet, path: one, tag: "Jobs",
		summary: "How far is a job?", rule: read, status: http.StatusOK,
	}, func(ctx context.Context, in *jobInput) (*jobOutput, error) {
		job, err := s.job(ctx, in.Job)
		return &jobOutput{Body: job}, err
	})
	register(s, route{
		id: "stop-job", method: http.MethodPut, path: one + "/stop", tag: "Jobs",
		summary: "Have a job end after what is in hand", rule: operating, status: http.StatusOK,
	}, func(ctx context.Context, in *stopJobInput) (*jobOutput, error) {
		if _, err := s.job(ctx, in.Job); err != nil {
			return nil, err
		}
		job, err := s.acting(ctx).StopJob(ctx, in.Job, in.Reason)
		return &jobOutput{Body: job}, err
	})
}

// sees reports whether the caller may see what concerns a channel; "" is all channels.
func (c *caller) sees(channel string) bool {
	if channel == "" {
		return !c.limited()
	}
	return c.allows(channel)
}

// job returns a job that the caller may see.
func (s *server) job(ctx context.Context, id string) (jobs.Job, error) {
	store, err := s.o.Client.Jobs(ctx)
	if err != nil {
		return jobs.Job{}, err
	}
	job, err := store.Get(ctx, id)
	if err == nil && !callerOf(ctx).sees(job.Channel) {
		return jobs.Job{}, forbidden("the token is not for the channel of the job")
	}
	return job, err
}

func (s *server) startJob(ctx context.Context, in *startJobInput) (*startJobOutput, error) {
	var r operate.JobRequest
	if err := events.CheckJSON(in.RawBody); err != nil { // keys would become others
		return nil, invalid(FieldError{Location: "body", Message: err.Error()})
	}
	dec := json.NewDecoder(bytes.NewReader(in.RawBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return nil, invalid(FieldError{Location: "body", Message: "it is not an object with action, and letters or entities: " + err.Error()})
	}
	selection := jobs.Selection{Letters: r.Letters, Entities: r.Entities}
	if c := callerOf(ctx); !c.sees(selection.Channel()) {
		if selection.Channel() == "" {
			return nil, forbidden("the token is limited to channels: name one of them")
		}
		return nil, forbidden("the token is not for this channel")
	}
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if r.DryRun {
		plan, err := s.o.Client.PlanJob(ctx, r)
		return &startJobOutput{Status: http.StatusOK, Body: JobStart{Plan: &plan}}, err
	}
	job, err := s.acting(ctx).StartJob(ctx, r)
	return &startJobOutput{Status: http.StatusAccepted, Body: JobStart{Job: &job}}, err
}

// liveShown is how many of the latest jobs the stream of events tells of.
const liveShown = 50

// liveJobs are the latest jobs for the stream of events. They are listed when one has changed.
type liveJobs struct {
	client *operate.Client

	mu    sync.Mutex
	store *jobs.Store
	as    jobs.Change // when they were listed
	last  []operate.LiveJob
}

func (l *liveJobs) latest(ctx context.Context) ([]operate.LiveJob, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.store == nil {
		store, err := l.client.Jobs(ctx)
		if err != nil {
			return nil, err
		}
		l.store = store
	}
	now, err := l.store.Changed(ctx)
	if err != nil || now == l.as {
		return l.last, err
	}
	page, err := l.store.List(ctx, liveShown, "", nil)
	if err != nil {
		return nil, err
	}
	out := make([]operate.LiveJob, 0, len(page.Jobs))
	for _, j := range page.Jobs {
		out = append(out, operate.LiveJob{ID: j.ID, Channels: []string{j.Channel}, Revision: uint64(j.Updated.UnixNano()), Job: j}) //nolint:gosec // no time before 1970
	}
	l.as, l.last = now, out
	return out, nil
}
