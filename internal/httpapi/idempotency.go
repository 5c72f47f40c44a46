package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// idempotency remembers the answers to requests with an Idempotency-Key. What it
// guards is safe to repeat anyway: an update is known by channel, key, version and
// content. It makes the second answer equal to the first, and finds out when a
// key is used for something else.
type idempotency struct{ kv jetstream.KeyValue }

func openIdempotency(ctx context.Context, js jetstream.JetStream, names events.Names) (*idempotency, error) {
	kv, err := js.KeyValue(ctx, wire.IdempotencyBucket(names))
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: bucket %s is missing; apply the channels again", events.ErrNotProvisioned, wire.IdempotencyBucket(names))
	}
	if err != nil {
		return nil, fmt.Errorf("open the answers to repeat: %w", err)
	}
	return &idempotency{kv: kv}, nil
}

// A remembered request has no Result while it has no answer that lasts.
type remembered struct {
	Format int     `json:"f"`
	Body   string  `json:"body"` // hash of the request
	Result *Result `json:"result,omitempty"`
}

// A requestID says which request this is, and what it asks for. The zero one has
// no key.
type requestID struct{ key, body string }

// request hashes what belongs to a request. Keys of different tokens are
// different keys.
func (i *idempotency) request(ctx context.Context, key, operation string, route events.Route, h http.Header, body []byte) requestID {
	if key == "" {
		return requestID{}
	}
	owner := ""
	if t := callerOf(ctx).token; t != nil {
		owner = t.ID
	}
	content := []string{h.Get("Content-Type")}
	for _, name := range []string{
		events.HeaderSpecVersion, events.HeaderID, events.HeaderSource, events.HeaderType, events.HeaderTime,
		events.HeaderSubject, events.HeaderVersion, events.HeaderOp, events.HeaderBase,
	} {
		content = append(content, h.Get(name))
	}
	return requestID{
		key:  hash(owner, operation, route.ID(), key),
		body: hash(append(content, string(body))...),
	}
}

func hash(parts ...string) string {
	var all strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&all, "%d:%s", len(p), p)
	}
	sum := sha256.Sum256([]byte(all.String()))
	return hex.EncodeToString(sum[:])
}

// once returns the answer of an earlier request with the same key, or does what
// is asked for; do says whether a repetition shall get its answer.
func (i *idempotency) once(ctx context.Context, id requestID, do func() (r Result, lasts bool)) (r Result, replayed bool, err error) {
	if id.key == "" {
		r, _ = do()
		return r, false, nil
	}
	first := remembered{Format: wire.Format, Body: id.body}
	data, err := json.Marshal(first)
	if err != nil {
		return Result{}, false, err
	}
	revision, err := i.kv.Create(ctx, id.key, data)
	if errors.Is(err, jetstream.ErrKeyExists) {
		var known remembered
		if known, revision, err = i.get(ctx, id.key); err != nil {
			return Result{}, false, err
		}
		if known.Body != id.body {
			return Result{}, false, problem(http.StatusUnprocessableEntity, "idempotency_key", "this Idempotency-Key was used for another request")
		}
		if known.Result != nil {
			return *known.Result, true, nil
		}
	} else if err != nil {
		return Result{}, false, fmt.Errorf("remember the request: %w", err)
	}
	r, lasts := do()
	if !lasts {
		return r, false, nil
	}
	first.Result = &r
	if data, err = json.Marshal(first); err != nil {
		return Result{}, false, err
	}
	// If this is lost, or somebody repeats it at the same time, the repetition is
	// recognised by the update itself.
	_, _ = i.kv.Update(ctx, id.key, data, revision)
	return r, false, nil
}

func (i *idempotency) get(ctx context.Context, key string) (remembered, uint64, error) {
	var known remembered
	kve, err := i.kv.Get(ctx, key)
	if err != nil {
		return known, 0, fmt.Errorf("read the remembered request: %w", err)
	}
	if err := json.Unmarshal(kve.Value(), &known); err != nil {
		return known, 0, fmt.Errorf("read the remembered request: %w", err)
	}
	return known, kve.Revision(), wire.CheckFormat(known.Format)
}
