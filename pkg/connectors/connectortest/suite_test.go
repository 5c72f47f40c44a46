package connectortest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/guardrace"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// flawVariable names the flaw of the subject in a process started by TestFlaws.
const flawVariable = "CONNECTORTEST_FLAW"

// TestSubject runs the suite against a sound connector, or in a process of
// TestFlaws against one with a flaw.
func TestSubject(t *testing.T) {
	connectortest.Run(t, newStore(os.Getenv(flawVariable)).target())
}

// TestSuiteOfLess runs the suite against a target that promises nothing but to
// be written to.
func TestSuiteOfLess(t *testing.T) {
	full := newStore(promisesNothing).target()
	connectortest.Run(t, connectortest.Target{Open: full.Open, Read: full.Read})
}

// TestFlaws: a suite that cannot fail proves nothing. Every flaw that a
// connector can have must be found, by the case that is there for it.
func TestFlaws(t *testing.T) {
	for flaw, found := range map[string]string{
		"is declared to do less":       "declared",
		"takes anything":               "older_after_newer",
		"takes other content":          "same_version_with_other_content",
		"forgets tombstones":           "tombstone_then_late_upsert",
		"counts in floats":             "fresh",
		"cuts times":                   "times_as_versions",
		"folds keys":                   "odd_keys",
		"looks first and writes later": "parallel_writers,_the_same_keys",
		"checks, then acts":            "guard_in_a_race",
		"writes twice":                 "one_bad_update_in_a_batch",
		"loses a result":               "batch",
		"sorts results":                "batch",
		"fails the whole batch":        "one_bad_update_in_a_batch",
		"shows the secret":             "one_bad_update_in_a_batch",
		"excerpts the secret":          "one_bad_update_in_a_batch",
		"has no code":                  "one_bad_update_in_a_batch",
		"shows the payload":            "same_version_with_other_content",
		"does not say what is held":    "older_after_newer",
		"ignores its ctx":              "cancelled_before_the_call",
		"waits for ever":               "cancelled_during_the_call",
		"is always well":               "target_unreachable",
		"takes lost for done":          "answer_lost_after_the_write",
		"reads in another order":       "read",
		"shows what it is asked about": "fetched",
		"shows the version before":     "fetched",
		"cuts what it shows":           "fetched",
		"shows what was deleted":       "fetched",
		"leaves a goroutine":           "fresh",
	} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestSubject$", "-test.timeout=50s")
			cmd.Env = append(os.Environ(), flawVariable+"="+flaw)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("the suite was not stopped by the flaw: %v\n%s", err, out)
			}
			if !strings.Contains(string(out), "--- FAIL: TestSubject/"+found+" (") {
				t.Errorf("case %q did not find it:\n%s", found, out)
			}
			if strings.Contains(string(out), secret) {
				t.Error("the suite repeats the secret")
			}
		})
	}
}

// awaitNewer is a barrier between the check and the act: it lets a newer version be
// written first, if there is one on its way. Only the key of the race meets it.
func (s *store) awaitNewer(key string, v versioning.Version) {
	if !strings.HasPrefix(key, guardrace.KeyPrefix) {
		return
	}
	enough := time.Now().Add(5 * time.Millisecond)
	for time.Now().Before(enough) {
		if order, err := s.held[key].Version.Compare(v); err == nil && order > 0 {
			return
		}
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
}
