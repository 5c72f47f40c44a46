package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// Somebody waits for version 7 of a topic's key. Version 8 comes before a target has seen 7,
// and is refused there. Whoever waited was told "delivered", because a superseded version was
// taken for one that the target has no need of.
func TestWaitForATopicsVersionThatANewerOneReplaces(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var refuses atomic.Bool
	url := target(t, func(w http.ResponseWriter, _ *http.Request) {
		if refuses.Load() {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	s.extsync("channels", "apply", "-f", s.file("topics.yaml", fmt.Sprintf(`
topics: [{name: policies}]
channels:
  - name: crm
    from: {topic: policies}
    connector: {kind: http, config: {url: %q, allow_cidrs: [127.0.0.0/8]}}
`, url))).ok(t)
	s.worker()
	s.extsync("push", "--topic", "policies", "k", "6", "--data", `{}`, "--wait", testkit.Patience.String()).ok(t)
	s.extsync("channels", "pause", "crm").ok(t)
	waiting := s.extsync("push", "--topic", "policies", "k", "7", "--data", `{}`, "--wait", testkit.Patience.String(), "--json").start(t)
	testkit.Eventually(t, "version 7 to be in the topic", func() bool {
		var doc struct {
			Topics []struct{ Newest struct{ Version json.Number } }
		}
		decodeJSON(t, s.extsync("get", "k", "--json").run(t).out, &doc)
		return len(doc.Topics) == 1 && doc.Topics[0].Newest.Version == "7"
	})
	s.extsync("push", "--topic", "policies", "k", "8", "--data", `{}`).ok(t)
	refuses.Store(true)
	s.extsync("channels", "resume", "crm").ok(t)
	if code := waiting.wait(t); code != cli.ExitUndelivered {
		t.Errorf("exit code %d, want %d: the target has version 6", code, cli.ExitUndelivered)
	}
	if e := s.extsync("wait", "--topic", "policies", "k@7").run(t); e.code != cli.ExitUndelivered {
		t.Errorf("wait: %d\n%s%s", e.code, e.out, e.err)
	}
}
