package httpapi

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

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
	wait, p := parseWait("wait", in.Wait)
	if p != nil {
		return nil, p
	}
	d, p := decodeRequest(in.h, in.RawBody)
	if p != nil {
		return nil, p
	}
	names := slices.Compact(slices.Sorted(slices.Values(d.Channels)))
	if len(names) == 0 || len(names) > maxChannels || len(names) != len(d.Channels) {
		d.Fail("channels", "1 to %s different ones are needed", strconv.Itoa(maxChannels))
		return nil, d.invalid(d.Problems())
	}
	out := &resultsOutput{Status: http.StatusMultiStatus}
	out.Body.Results = make([]Result, len(names))
	done := make(chan struct{})
	for i, name := range d.Channels {
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

func (s *server) publishTo(ctx context.Context, d drafted, channel string, wait time.Duration, in *publishManyInput) Result {
	result := Result{Channel: connectors.Clip(channel, 80)}
	if !callerOf(ctx).allows(channel) {
		return result.failed(forbidden("the token is not for this channel"))
	}
	route := events.ToChannel(channel)
	u, p := d.update(s.o.Client.Names, route)
	if p != nil {
		return result.failed(p)
	}
	result, _, err := s.publishOnce(ctx, u, wait, s.idem.request(ctx, in.IdempotencyKey, "publish-many", route, in.h, in.RawBody))
	if err != nil {
		return Result{Channel: channel}.failed(s.problemOf(err))
	}
	return result
}
