package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/auditlog"
)

// Activity tells the newest acts first, of each how it has ended, in pages, without what was there
// before and after; a limited token hears of its own channels only.
func TestActivity(t *testing.T) {
	r := newRig(t).asking().serve()
	all := r.limited(nil, nil)
	for i := range 5 {
		step := "pause"
		if i%2 == 1 {
			step = "resume"
		}
		for _, channel := range []string{"erp", "portal"} {
			r.call(http.StatusOK, http.MethodPut, "/v1/channels/"+channel+"/"+step, "", all...)
		}
	}
	failed := errors.New("no such " + script)
	err := r.client.As("somebody", "").Act(t.Context(), auditlog.Act{Action: "key.reset", Target: "channel erp", Reason: script, Before: map[string]string{"key": script}},
		func(context.Context) (any, error) { return nil, failed })
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	newest := r.call(http.StatusOK, http.MethodGet, "/v1/activity?limit=1", "", all...)
	records, _ := newest["records"].([]any)
	if len(records) != 1 || at(records[0], "reason") != script || at(records[0], "result") != "failed" || at(records[0], "actor") != "somebody" ||
		!strings.Contains(fmt.Sprint(at(records[0], "error")), script) || at(records[0], "before") != nil {
		t.Fatalf("%v", newest)
	}
	detail := r.call(http.StatusOK, http.MethodGet, fmt.Sprint("/v1/activity/", at(records[0], "id")), "", all...)
	if at(detail, "before", "key") != script || at(detail, "result") != "failed" {
		t.Errorf("%v", detail)
	}
	r.call(http.StatusForbidden, http.MethodGet, fmt.Sprint("/v1/activity/", at(records[0], "id")), "", r.limited([]string{"portal"}, nil)...)
	for _, none := range []string{"1", "x", "1-x", "999999-" + strings.Repeat("a", 36)} {
		r.call(http.StatusNotFound, http.MethodGet, "/v1/activity/"+none, "", all...)
	}
	for _, c := range []struct {
		query string
		token []string
		want  int
	}{
		{"channel=erp", all, 7},
		{"channel=portal", all, 6},
		{"key=" + "%3Cscript%3Ealert(%22k%22)%3C%2Fscript%3E", all, 1},
		{"limit=50", r.limited([]string{"portal"}, nil), 6},
		{"channel=erp", r.limited([]string{"portal"}, nil), 0},
	} {
		seen := map[string]bool{}
		for cursor := ""; ; {
			page := r.call(http.StatusOK, http.MethodGet, "/v1/activity?"+c.query+"&cursor="+cursor, "", c.token...)
			records, _ := page["records"].([]any)
			for _, one := range records {
				seen[fmt.Sprint(at(one, "id"))] = true
				if at(one, "result") == "started" {
					t.Errorf("%v has not ended", one)
				}
			}
			if cursor, _ = page["next"].(string); cursor == "" {
				break
			}
		}
		if len(seen) != c.want {
			t.Errorf("%s: %d acts, want %d", c.query, len(seen), c.want)
		}
	}
	// An end that is stored behind the beginning of a later page is found.
	for cursor, pages := "", 0; ; pages++ {
		page := r.call(http.StatusOK, http.MethodGet, "/v1/activity?limit=2&channel=erp&cursor="+cursor, "", all...)
		if strings.Contains(names(page["records"], "result"), "started") {
			t.Errorf("%v", page)
		}
		if cursor, _ = page["next"].(string); cursor == "" {
			if pages < 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
	}
	r.call(http.StatusUnprocessableEntity, http.MethodGet, "/v1/activity?cursor=x", "", all...)
}

// The history of a channel has each configuration, what has changed, and which is in use; one of a
// former channel of the name is not among them.
func TestHistory(t *testing.T) {
	r := newRig(t).serve()
	set := map[string]any{}
	change := func(field string, value any) {
		t.Helper()
		set[field] = value
		resp, _ := r.do(r.request(http.MethodGet, "/v1/channels/erp", ""))
		body := r.config("erp", func(m map[string]any) { maps.Copy(m, set) })
		r.call(http.StatusOK, http.MethodPut, "/v1/channels/erp", body, "If-Match", resp.Header.Get("ETag"))
	}
	change("description", "first")
	r.call(http.StatusOK, http.MethodPut, "/v1/channels/erp/pause", "")
	change("timeout", "7s")
	history := r.call(http.StatusOK, http.MethodGet, "/v1/channels/erp/history", "")
	revisions, _ := history["revisions"].([]any)
	if len(revisions) != 4 || history["complete"] != true {
		t.Fatalf("%v", history)
	}
	for i, want := range []struct {
		changed     string
		description any
		timeout     any
		paused      any
	}{{"timeout", "first", "7s", true}, {"paused", "first", "30s", true}, {"description", "first", "30s", false}, {"", nil, "30s", nil}} {
		one := revisions[i]
		changed := strings.Trim(fmt.Sprint(at(one, "changed")), "[]")
		if i < 3 && changed != want.changed || at(one, "config", "description") != want.description || at(one, "config", "timeout") != want.timeout {
			t.Errorf("%d: %v", i, one)
		}
		if paused := at(one, "config", "paused"); want.paused == true && paused != true || want.paused != true && paused == true {
			t.Errorf("%d: paused is %v, want %v", i, paused, want.paused)
		}
		if at(one, "current") != (i == 0) || at(one, "revision") == 0.0 {
			t.Errorf("%d: %v", i, one)
		}
	}
	config := r.call(http.StatusOK, http.MethodGet, "/v1/channels/erp", "")
	if config["revision"] != at(revisions[0], "revision") {
		t.Errorf("revision %v, want %v", at(revisions[0], "revision"), config["revision"])
	}
	second := r.call(http.StatusOK, http.MethodGet, "/v1/channels/erp/history?limit=1", "")
	next, _ := second["next"].(string)
	second = r.call(http.StatusOK, http.MethodGet, "/v1/channels/erp/history?limit=2&cursor="+next, "")
	if list, _ := second["revisions"].([]any); len(list) != 2 || strings.Trim(fmt.Sprint(at(list[1], "changed")), "[]") != "description" {
		t.Errorf("%v", second)
	}
	r.call(http.StatusNotFound, http.MethodGet, "/v1/channels/none/history", "")
}
