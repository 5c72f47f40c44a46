package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// Two keys that always fail held a circuit open, were tried for ever, and nobody was told.
// Status names them, and an operator ends one; when another key gets through, the other one
// counts for itself.
func TestGiveUpAKeyWhileNobodyGetsThrough(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.portal(target(t, func(w http.ResponseWriter, r *http.Request) {
		if subject := r.Header.Get("ce-subject"); strings.Contains(subject, "one") || strings.Contains(subject, "two") {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}), "")
	if e := s.extsync("key", "give-up", "portal", "one", "--yes").run(t); e.code == cli.ExitOK {
		t.Errorf("a key that is not there: %+v", e)
	}
	for _, key := range []string{"one", "two"} {
		s.extsync("push", "portal", key, "1", "--data", "{}").ok(t)
	}
	if e := s.extsync("key", "give-up", "portal", "one", "--yes").run(t); e.code == cli.ExitOK || !strings.Contains(e.err, "no worker works on the partition") {
		t.Errorf("without a worker: %+v", e)
	}
	s.worker()
	testkit.Eventually(t, "status says that nobody gets through, since when, and which keys fail", func() bool {
		out := s.extsync("status", "portal", "--interval", "200ms").ok(t)
		return strings.Contains(out, "nobody gets through since 20") &&
			(strings.Contains(out, "failing: one, two") || strings.Contains(out, "failing: two, one"))
	})
	if e := s.extsync("key", "give-up", "portal", "one").run(t); e.code == cli.ExitOK || !strings.Contains(e.err, "--yes") {
		t.Errorf("without --yes: %+v", e)
	}
	if out := s.extsync("key", "give-up", "portal", "one", "--yes").ok(t); !strings.Contains(out, "version 1 of key one is a dead letter") {
		t.Errorf("give-up: %s", out)
	}
	letters := s.letters().Entries
	if len(letters) != 1 || letters[0].Key != "one" {
		t.Errorf("letters: %+v", letters)
	}
	if out := s.extsync("get", "one").ok(t); !strings.Contains(out, "given_up") || !strings.Contains(out, "answered 500") {
		t.Errorf("get: %s", out)
	}
	if out := s.extsync("audit-log", "--json").ok(t); !strings.Contains(out, `"key.give_up"`) {
		t.Errorf("the audit log: %s", out)
	}
	s.extsync("push", "portal", "three", "1", "--data", "{}", "--wait", "30s").ok(t)
	testkit.Eventually(t, "nobody says any more that nobody gets through", func() bool {
		return !strings.Contains(s.extsync("status", "portal", "--interval", "200ms").ok(t), "nobody gets through")
	})
}
