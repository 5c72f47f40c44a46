package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A list by a prefix has all keys that begin so, also those that are in sync, and says how far it
// has looked; one by age has those only that have been so for long enough.
func TestListByPrefixAndAge(t *testing.T) {
	r := newRig(t).serve().work()
	for i := range 12 {
		r.call(http.StatusOK, http.MethodPost, updates+"?wait=30s", update(fmt.Sprint("a/", i), "1", "x"))
	}
	r.call(http.StatusOK, http.MethodPost, updates+"?wait=30s", update("b", "1", "x"))
	for _, base := range []string{"/v1/entities", "/v1/channels/erp/entities"} {
		r.eventually("the ledger to have all, in pages", func() bool {
			seen, _ := r.pages(base + "?limit=5&prefix=a/")
			b, _ := r.pages(base + "?limit=5&prefix=b&sync=in_sync")
			return len(seen) == 12 && len(b) == 1
		})
		page := r.call(http.StatusOK, http.MethodGet, base+"?limit=5&prefix=a/", "")
		if looked, of := page["looked"].(float64), page["of"].(float64); looked < 5 || of < 13 || page["next"] == "" {
			t.Errorf("%s: looked at %v of %v", base, looked, of)
		}
		for query, want := range map[string]int{"prefix=a/1": 3, "prefix=c": 0, "sync=in_sync&prefix=b": 1, "sync=in_sync&older_than=1h": 0, "sync=in_sync&older_than=1ns": 13, "health=dead&prefix=a": 0} {
			if seen, _ := r.pages(base + "?limit=50&" + query); len(seen) != want {
				t.Errorf("%s?%s: %v", base, query, seen)
			}
		}
		for _, wrong := range []string{"older_than=x", "older_than=-1s"} {
			r.call(http.StatusUnprocessableEntity, http.MethodGet, base+"?"+wrong, "")
		}
	}
}

// A search finds the exact key, keys that begin so, and names, of what the token may see only.
func TestSearch(t *testing.T) {
	r := newRig(t).asking()
	r.topics()
	r.serve()
	all := r.limited(nil, nil)
	for _, channel := range []string{"erp", "portal"} {
		for _, key := range []string{"p", "p-1", "q"} {
			r.call(http.StatusAccepted, http.MethodPost, "/v1/channels/"+channel+"/updates", update(key, "1", "x"), all...)
		}
	}
	r.call(http.StatusAccepted, http.MethodPost, policies+"/updates", update("p-1", "1", "x"), all...)
	for _, c := range []struct {
		q        string
		token    []string
		key      string // channels that know the key
		channels string
		topics   string
		prefix   string
	}{
		{"p", all, "erp portal", "erp portal", "policies", "p-1 p-1 p p-1 p p-1"},
		{"p-1", all, "crm web erp portal", "", "", "p-1 p-1 p-1 p-1"},
		{"p-1", r.limited([]string{"portal"}, nil), "portal", "", "", "p-1"},
		{"p", r.limited([]string{"crm"}, []string{"policies"}), "", "", "policies", "p-1"},
		{"CR", all, "", "crm", "", ""},
		{"none", all, "", "", "", ""},
		{strings.ReplaceAll("<script>", "<", "%3C"), all, "", "", "", ""},
	} {
		found := r.call(http.StatusOK, http.MethodGet, "/v1/search?q="+c.q, "", c.token...)
		sorted := func(text string) string {
			words := strings.Fields(text)
			for i := range words {
				for j := i + 1; j < len(words); j++ {
					if words[j] < words[i] {
						words[i], words[j] = words[j], words[i]
					}
				}
			}
			return strings.Join(words, " ")
		}
		list, _ := found["channels"].([]any)
		if got := strings.Trim(fmt.Sprint(list), "[]"); got != c.channels {
			t.Errorf("%s: channels %s, want %s", c.q, got, c.channels)
		}
		if got := strings.Trim(fmt.Sprint(found["topics"]), "[]"); got != c.topics {
			t.Errorf("%s: topics %s, want %s", c.q, got, c.topics)
		}
		if got := sorted(names(at(found, "key", "channels"), "channel")); got != sorted(c.key) || (found["key"] == nil) != (c.key == "") {
			t.Errorf("%s: the key is in %s, want %s", c.q, got, c.key)
		}
		if got := sorted(names(at(found, "prefix", "entities"), "key")); got != sorted(c.prefix) {
			t.Errorf("%s: keys %s, want %s", c.q, got, c.prefix)
		}
	}
	target := strings.TrimPrefix(r.target.URL, "http://")
	found := r.call(http.StatusOK, http.MethodGet, "/v1/search?q="+target, "", r.limited([]string{"portal"}, nil)...)
	if names(found["targets"], "channel") != "portal" {
		t.Errorf("%v", found["targets"])
	}
	r.call(http.StatusUnprocessableEntity, http.MethodGet, "/v1/search?q=", "", all...)
}
