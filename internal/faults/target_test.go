package faults_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// errCut stands for a connection that ended without an answer.
var errCut = errors.New("cut")

// answer is what the target said.
type answer struct {
	status int
	header http.Header
}

// send makes one call as a worker would.
func send(ctx context.Context, t *testing.T, tg *faults.HTTPTarget, key, version, body string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.Replace(tg.URL(), "{key}", key, 1), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		events.HeaderSubject: key, events.HeaderVersion: version, events.HeaderOp: "upsert",
		"Extsync-Attempt": "1", faults.WorkerHeader: "w",
	} {
		req.Header.Set(name, value)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, errors.Join(errCut, err)
	}
	return answer{resp.StatusCode, resp.Header}, resp.Body.Close()
}

func mustStatus(t *testing.T, tg *faults.HTTPTarget, key, version, body string, want int) answer {
	t.Helper()
	resp, err := send(t.Context(), t, tg, key, version, body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.status != want {
		t.Fatalf("version %s of %s: status %d, want %d", version, key, resp.status, want)
	}
	return resp
}

func TestTargetWithoutGuardKeepsEverything(t *testing.T) {
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	for _, v := range []string{"2", "1", "1"} {
		mustStatus(t, tg, "a b", v, "body "+v, http.StatusOK)
	}
	h := tg.History()
	if len(h.Writes) != 3 || len(h.Calls) != 3 || h.Writes[1].Version.String() != "1" || h.Writes[0].Key != "a b" || h.Writes[0].Worker != "w" {
		t.Errorf("history %+v", h)
	}
	if want := versioning.Sum("upsert", []byte("body 1")); h.Held["a b"].Digest != want {
		t.Errorf("holds %+v", h.Held)
	}
	for _, c := range h.Calls {
		if c.To <= c.From || c.Answer != "200" {
			t.Errorf("call %+v", c)
		}
	}
}

func TestGuardedTargetRefusesWithWhatItHolds(t *testing.T) {
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{Guarded: true})
	mustStatus(t, tg, "k", "7", "x", http.StatusOK)
	mustStatus(t, tg, "k", "7", "x", http.StatusOK)
	for _, tt := range []struct {
		version, body string
		status        int
	}{{"6", "x", http.StatusPreconditionFailed}, {"7", "other", http.StatusConflict}} {
		resp := mustStatus(t, tg, "k", tt.version, tt.body, tt.status)
		if got := resp.header.Get(events.HeaderVersion); got != "7" {
			t.Errorf("it says that it holds %q", got)
		}
	}
	if h := tg.History(); len(h.Writes) != 2 || len(h.Calls) != 4 {
		t.Errorf("history %+v", h)
	}
}

func TestTroubleHappens(t *testing.T) {
	tests := []struct {
		name    string
		trouble faults.Trouble
		status  int // 0: no answer
		written bool
	}{
		{"none", faults.Trouble{}, http.StatusOK, true},
		{"error", faults.Trouble{Errors: 1}, http.StatusServiceUnavailable, false},
		{"refused", faults.Trouble{Refused: 1}, 0, false},
		{"cut after the write", faults.Trouble{Cut: 1}, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
			tg.Cause(tt.trouble)
			resp, err := send(t.Context(), t, tg, "k", "1", "x")
			if tt.status == 0 && !errors.Is(err, errCut) || tt.status != 0 && (err != nil || resp.status != tt.status) {
				t.Errorf("answer %v, %v", resp, err)
			}
			if h := tg.History(); (len(h.Writes) == 1) != tt.written || len(h.Calls) != 1 {
				t.Errorf("history %+v", h)
			}
		})
	}
}

func TestRatesFollowTheSeed(t *testing.T) {
	answers := func(seed uint64) string {
		tg := faults.NewHTTPTarget(t, faults.HTTPOptions{Seed: seed})
		tg.Cause(faults.Trouble{Errors: 0.5})
		for v := range 64 {
			if _, err := send(t.Context(), t, tg, "k", versioning.Must(versioning.Number(int64(v+1))).String(), "x"); err != nil {
				t.Fatal(err)
			}
		}
		var out strings.Builder
		for _, c := range tg.History().Calls {
			out.WriteString(c.Answer[:1])
		}
		return out.String()
	}
	one := answers(1)
	if again := answers(1); one != again {
		t.Errorf("one seed, two fates:\n%s\n%s", one, again)
	}
	if other := answers(2); one == other {
		t.Error("two seeds, one fate")
	}
	if failed := strings.Count(one, "5"); failed < 16 || failed > 48 {
		t.Errorf("%d of 64 calls failed at a rate of one half", failed)
	}
}

func TestHeldCallEndsWhenItsCallerHangsUp(t *testing.T) {
	tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
	release := tg.Hold("k")
	ctx, hangUp := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := send(ctx, t, tg, "k", "1", "x")
		done <- err
	}()
	mustStatus(t, tg, "other", "1", "x", http.StatusOK) // only the key is held
	testkit.Eventually(t, "both calls are there", func() bool { calls, _, _ := tg.Counts(); return calls == 2 })
	hangUp()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the caller got %v", err)
	}
	gone := func(h faults.History) bool {
		for _, c := range h.Calls {
			if c.Key == "k" && c.Answer == "gone" {
				return true
			}
		}
		return false
	}
	if !tg.Await(t.Context(), gone) {
		t.Fatal("the call has not ended")
	}
	release()
	mustStatus(t, tg, "k", "2", "x", http.StatusOK)
	if w := tg.History().Writes; len(w) != 2 || w[1].Version.String() != "2" {
		t.Errorf("writes %+v", w)
	}
}
