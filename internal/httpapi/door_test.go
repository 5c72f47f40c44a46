package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/tokens"
)

// gzipped returns a text as gzip writes it.
func gzipped(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// Everything but success has the promised form, whoever makes the answer.
func TestEveryProblemHasTheForm(t *testing.T) {
	r := newRig(t).serve()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		reason             string
	}{
		{"GET", "/v1/elsewhere", "", nil, 404, "unknown_route"},
		{"GET", "/", "", nil, 404, "unknown_route"},
		{"DELETE", updates, "", nil, 405, "method"},
		{"PATCH", "/v1/channels", "{}", nil, 405, "method"},
		{"GET", "/v1//channels", "", nil, 307, "moved"},
		{"GET", "/v1/channels/erp/entities/..", "", nil, 307, "moved"},
		{"POST", "/v1/./updates", "{}", nil, 307, "moved"},
		{"PUT", "/v1/channels/new", "", []string{"If-None-Match", "*"}, 400, "bad_request"},
		{"POST", updates, "", nil, 400, "bad_request"},
		{"POST", updates, strings.Repeat(" ", 3<<20), nil, 413, "too_large"},
		{"PUT", "/v1/channels/erp", strings.Repeat(" ", 3<<20), []string{"If-Match", "*"}, 413, "too_large"},
		{"POST", updates, "x", []string{"Content-Type", "text/plain"}, 415, "media_type"},
		{"POST", updates, "{}", []string{"Content-Type", "application/json; charset=latin1"}, 415, "charset"},
		{"POST", updates, "{}", []string{"Content-Encoding", "br"}, 415, "content_encoding"},
		{"POST", updates, "{}", []string{"Content-Encoding", "gzip"}, 400, "content_encoding"},
		{"GET", "/v1/channels?colour=red", "", nil, 422, "invalid"},
	} {
		resp, err := client.Do(r.request(c.method, c.path, c.body, c.headers...))
		r.must(err)
		data, err := io.ReadAll(resp.Body)
		r.must(err)
		_ = resp.Body.Close() // it was read
		var p struct {
			Title, Reason, Detail string
			Status                int
		}
		if err := json.Unmarshal(data, &p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %.40s: %s, %s: %v\n%.200s", c.method, c.path, resp.Status, resp.Header.Get("Content-Type"), err, data)
			continue
		}
		if resp.StatusCode != c.status || p.Status != c.status || p.Title == "" || p.Reason != c.reason || p.Detail == "" {
			t.Errorf("%s %.40s: %s, %+v; want %d, %s", c.method, c.path, resp.Status, p, c.status, c.reason)
		}
		if (c.status == 307) != (resp.Header.Get("Location") != "") {
			t.Errorf("%s %s: Location %q", c.method, c.path, resp.Header.Get("Location"))
		}
	}
}

func TestContentEncodingAndCharset(t *testing.T) {
	r := newRig(t).serve()
	// The same request in another form is the same request.
	same := []string{"Idempotency-Key", "one"}
	r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "x"), same...)
	resp, _ := r.do(r.request(http.MethodPost, updates, gzipped(t, update("k", "1", "x")), append(same, "Content-Encoding", "GZIP")...))
	if resp.StatusCode != http.StatusAccepted || resp.Header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("gzip: %s", resp.Status)
	}
	for _, contentType := range []string{"application/json; charset=UTF-8", `application/json;charset="utf-8"`, "application/json; charset=us-ascii"} {
		r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "x"), "Content-Type", contentType)
	}
	// A payload that is not JSON may be in any charset: it is for the target to read.
	r.call(http.StatusAccepted, http.MethodPost, updates, "\xe9", "Content-Type", "text/plain; charset=latin1",
		"ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "t", "ce-subject", "l", "ce-entityversion", "3")
	bomb := gzipped(t, strings.Repeat(" ", 16<<20))
	if p := r.call(http.StatusRequestEntityTooLarge, http.MethodPost, updates, bomb, "Content-Encoding", "gzip"); p["reason"] != "too_large" {
		t.Errorf("a bomb: %v", p)
	}
	whole := gzipped(t, update("cut", "1", "x"))
	r.call(http.StatusBadRequest, http.MethodPost, updates, whole[:len(whole)-1], "Content-Encoding", "gzip")

	lines := update("a", "1", "x") + "\n" + update("b", "1", "x") + "\n"
	resp, data := r.batch(gzipped(t, lines), "Content-Encoding", "gzip")
	if resp.StatusCode != http.StatusOK || strings.Count(data, `"status":202`) != 2 {
		t.Errorf("a batch: %s\n%s", resp.Status, data)
	}
	resp, _ = r.batch(lines, "Content-Encoding", "deflate")
	if resp.StatusCode != http.StatusUnsupportedMediaType || resp.Header.Get("Accept-Encoding") == "" {
		t.Errorf("deflate: %s", resp.Status)
	}
}

// The name of the scheme has no case (RFC 9110, section 11.1).
func TestSchemeOfTheTokenInAnyCase(t *testing.T) {
	r := newRig(t).asking().serve()
	token := r.token(tokens.Read)
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} {
		r.call(http.StatusOK, http.MethodGet, "/v1/channels", "", "Authorization", scheme+token)
	}
	for _, header := range []string{"Basic " + token, "Bearer" + token, token, "Bearer"} {
		r.call(http.StatusUnauthorized, http.MethodGet, "/v1/channels", "", "Authorization", header)
	}
}

// logged is what a logger writes.
type logged struct {
	mu  sync.Mutex
	out bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.String()
}

// Refused tokens left no trace.
func TestRefusedTokensLeaveATrace(t *testing.T) {
	r := newRig(t).asking()
	var log logged
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan string, 1), make(chan error, 1)
	full := r.token(tokens.Read)
	limited := r.token(tokens.Read, "portal")
	go func() {
		ended <- app.Serve(ctx, r.client, app.PublisherOptions{Config: r.cfg, Logger: zerolog.New(&log), Ready: func(url string) { ready <- url }})
	}()
	defer func() {
		cancel()
		r.must(<-ended)
	}()
	r.url = <-ready
	const guesses = 50
	started := time.Now()
	wrong := "est_000000000000_" + strings.Repeat("x", 43)
	for range guesses {
		r.call(http.StatusUnauthorized, http.MethodGet, "/v1/channels", "", "Authorization", "Bearer "+wrong)
	}
	r.call(http.StatusUnauthorized, http.MethodGet, "/v1/channels", "")
	r.call(http.StatusForbidden, http.MethodGet, "/v1/channels/erp/status", "", "Authorization", "Bearer "+limited)
	r.call(http.StatusForbidden, http.MethodPost, updates, update("k", "1", "x"), "Authorization", "Bearer "+full)
	_, metrics := r.do(r.request(http.MethodGet, "/metrics", "", "Authorization", "Bearer "+full))
	for reason, n := range map[string]int{"bad_token": guesses, "no_token": 1, "forbidden": 2} {
		if want := fmt.Sprintf("extsync_tokens_refused_total{reason=%q} %d\n", reason, n); !strings.Contains(metrics, want) {
			t.Errorf("%s is not in the metrics", want)
		}
	}
	text := log.String()
	n := strings.Count(text, `"message":"token refused"`)
	if n == 0 || n > 2+int(time.Since(started)/time.Second) || !strings.Contains(text, `"from":"127.0.0.1:`) || !strings.Contains(text, `"reason":"bad_token"`) {
		t.Errorf("%d lines:\n%s", n, text)
	}
	if strings.Contains(text, wrong[len("est_"):]) || strings.Contains(text, limited) {
		t.Error("the log shows a token")
	}
}

// A token that is limited to channels sees their metrics, and nothing of others or of
// the process.
func TestMetricsAreLimitedLikeTheToken(t *testing.T) {
	r := newRig(t).asking().serve()
	publisher := []string{"Authorization", "Bearer " + r.token(tokens.Publish)}
	r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "x"), publisher...)
	r.call(http.StatusAccepted, http.MethodPost, "/v1/channels/portal/updates", update("k", "1", "x"), publisher...)
	r.call(http.StatusNotFound, http.MethodPost, "/v1/channels/nowhere/updates", update("k", "1", "x"), publisher...)
	get := func(token string) string {
		resp, data := r.do(r.request(http.MethodGet, "/metrics", "", "Authorization", "Bearer "+token))
		if resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
		return data
	}
	all, limited := get(r.token(tokens.Read)), get(r.token(tokens.Read, "portal"))
	for _, part := range []string{`channel="erp"`, `channel="portal"`, `channel=""`, "go_goroutines", "extsync_build_info"} {
		if !strings.Contains(all, part) {
			t.Errorf("%s is not in the metrics", part)
		}
		if strings.Contains(limited, part) != (part == `channel="portal"`) {
			t.Errorf("a limited token: %s: %v", part, !strings.Contains(limited, part))
		}
	}
}

// A caller that sends slowly what fills the memory for bodies does not keep others out.
func TestOneTokenDoesNotTakeTheWholeBodyBudget(t *testing.T) {
	t.Parallel()
	r := newRig(t).asking().serve()
	greedy, other := r.token(tokens.Publish), r.token(tokens.Publish)
	// Batches that stay open.
	var open []*io.PipeWriter
	defer func() {
		for _, w := range open {
			_ = w.Close() // ends the batch
		}
	}()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	refused := false
	for range 32 {
		in, out := io.Pipe()
		open = append(open, out)
		req := r.request(http.MethodPost, updates+":batch", "", "Authorization", "Bearer "+greedy, "Content-Type", "application/x-ndjson")
		req.Body, req.ContentLength = in, -1
		go func() { _, _ = io.WriteString(out, update("k", "1", "x")+"\n") }()
		resp, err := client.Do(req)
		r.must(err)
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode == http.StatusServiceUnavailable {
			refused = true
			break
		}
	}
	if !refused {
		t.Error("one token has the whole budget")
	}
	r.call(http.StatusAccepted, http.MethodPost, updates, update("o", "1", "x"), "Authorization", "Bearer "+other)
}
