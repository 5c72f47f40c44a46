package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/tokens"
)

// counts returns the outcomes of a dry run that are not 0.
func counts(doc map[string]any) map[string]float64 {
	out := map[string]float64{}
	list, _ := doc["outcomes"].([]any)
	for _, o := range list {
		if n, _ := at(o, "count").(float64); n > 0 {
			out[fmt.Sprint(at(o, "outcome"))] = n
		}
	}
	return out
}

func TestDryRunOfADraft(t *testing.T) {
	r := newRig(t).serve()
	const path = "/v1/channels/drafted"
	with := func(filter, mapping string) string {
		return r.config("drafted", func(m map[string]any) {
			m["redact"] = []string{".ssn"}
			for name, text := range map[string]string{"filter": filter, "mapping": mapping} {
				if text != "" {
					m[name] = text
				}
			}
		})
	}
	first := r.call(http.StatusOK, http.MethodPost, path+"/dry-run", with("", ""))
	if first["looked"] != 0.0 || at(first, "change", "change") != "created" {
		t.Errorf("of a channel that is new: %v", first)
	}
	r.call(http.StatusCreated, http.MethodPut, path, with(".n < 3", ""), "If-None-Match", "*")
	for n := range 6 {
		r.call(http.StatusAccepted, http.MethodPost, path+"/updates", fmt.Sprintf(`{"key":"k%d","version":1,"payload":{"n":%d,"ssn":"078-05-1120"}}`, n, n))
	}
	out := r.call(http.StatusOK, http.MethodPost, path+"/dry-run", with(".n > 0", `{n: (if .n == 1 then error("x") else .n end), moved: .ssn}`))
	if got, want := fmt.Sprint(counts(out)), fmt.Sprint(map[string]float64{"filtered_now": 1, "fails": 1, "changed": 1, "passes_now": 3}); got != want || out["looked"] != 6.0 {
		t.Errorf("outcomes %s, want %s", got, want)
	}
	text := fmt.Sprint(out)
	if out["contents"] != true || !strings.Contains(text, "moved:(hidden)") || strings.Contains(text, "078-05") {
		t.Errorf("contents: %v", text)
	}
	if got := r.acts("payload.read", ""); len(got) == 0 || got[len(got)-1] != "channel drafted done" {
		t.Errorf("audit log: %v", got)
	}
	bad := r.call(http.StatusOK, http.MethodPost, path+"/dry-run", with(".n >", ""))
	if list, _ := bad["problems"].([]any); len(list) != 1 || at(list[0], "path") != "filter" {
		t.Errorf("problems: %v", bad)
	}
	if calls := r.target.calls.Load(); calls != 0 {
		t.Errorf("%d calls", calls)
	}
}

// Who may configure and not see contents gets outcomes without them.
func TestDryRunWithoutTheScopePayload(t *testing.T) {
	r := newRig(t).asking().serve()
	publish, configure := "Bearer "+r.token(tokens.Publish), "Bearer "+r.token(tokens.Configure)
	r.eventually("the tokens to be known", func() bool {
		resp, _ := r.do(r.request(http.MethodPost, updates, update("k", "1", "secret"), "Authorization", publish))
		return resp.StatusCode == http.StatusAccepted
	})
	draft := r.config("erp", func(m map[string]any) { m["mapping"] = `{c: .content}` })
	r.eventually("the dry run", func() bool {
		resp, text := r.do(r.request(http.MethodPost, "/v1/channels/erp/dry-run", draft, "Authorization", configure))
		if strings.Contains(text, "secret") {
			t.Fatalf("contents: %s", text)
		}
		return resp.StatusCode == http.StatusOK && strings.Contains(text, `"contents":false`) && strings.Contains(text, `"outcome":"changed","count":1`)
	})
}
