package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
)

// limited makes a token that is limited to some channels and topics, with all scopes.
func (r *rig) limited(names, topics []string) []string {
	r.t.Helper()
	_, text, err := r.issuer().Create(r.t.Context(), tokens.Token{Name: "test", Scopes: tokens.Scopes(), Channels: names, Topics: topics})
	r.must(err)
	return []string{"Authorization", "Bearer " + text}
}

// A token that is limited hears of its channels and topics, and of no others: not by a topic
// whose channels it may not see, not by a channel whose topic it may not see.
func TestTokensSeeTheirTopicsAndChannelsOnly(t *testing.T) {
	r := newRig(t).asking()
	r.topics()
	_, err := r.client.Apply(t.Context(), channels.File{Topics: []channels.Topic{{Name: "other", MaxBytes: 1 << 20}}}, false)
	r.must(err)
	r.serve().work()
	everybody := r.limited(nil, nil)
	r.says(r.call(http.StatusOK, http.MethodPost, policies+"/updates?wait=20s", update("p-1", "1", "x"), everybody...), "delivered crm=delivered web=delivered")
	r.call(http.StatusAccepted, http.MethodPost, "/v1/topics/other/updates", update("p-1", "1", "x"), everybody...)

	for name, is := range map[string]struct {
		channels, topics []string
		outcome          string // of a topic's update; "": the topic is hidden
		listed           string // topics, with their channels
		found            string // of the key everywhere: topics, then channels
		list             string // channels
	}{
		"a channel":        {[]string{"crm"}, nil, "", "", "crm", "crm"},
		"a topic":          {nil, []string{"policies"}, "unread", "policies[]", "policies", ""},
		"both":             {[]string{"web"}, []string{"policies"}, "delivered web=delivered", "policies[web]", "policies web", "web"},
		"a topic and erp":  {[]string{"erp"}, []string{"policies"}, "unread", "policies[]", "policies erp", "erp"},
		"another and both": {[]string{"crm", "web"}, []string{"other"}, "", "other[]", "other crm web", "crm web"},
		"all":              {nil, nil, "delivered crm=delivered web=delivered", "other[] policies[crm web]", "other policies crm erp portal web", "crm erp portal web"},
	} {
		t.Run(name, func(t *testing.T) {
			r := *r
			r.t = t
			token := r.limited(is.channels, is.topics)
			sees := is.outcome != ""
			try := func(method, path, body string) map[string]any {
				t.Helper()
				status := http.StatusOK
				if !sees {
					status = http.StatusForbidden
				}
				return r.call(status, method, path, body, token...)
			}
			posted := try(http.MethodPost, policies+"/updates?wait=20s", update("p-1", "1", "x"))
			asked := try(http.MethodGet, policies+"/entities/p-1/outcome?version=1", "")
			shown := try(http.MethodGet, policies, "")
			try(http.MethodGet, policies+"/entities/p-1", "")
			try(http.MethodPut, policies+"?dry_run=true", `{}`)
			if resp, _ := r.batchTo(policies+"/updates", update("p-1", "1", "x"), token...); (resp.StatusCode == http.StatusOK) != sees {
				t.Errorf("a batch: %s", resp.Status)
			}
			if sees {
				r.says(posted, is.outcome)
				r.says(asked, is.outcome)
				if want := "policies" + fmt.Sprint(shown["channels"]); !strings.Contains(is.listed, want) {
					t.Errorf("it shows %s, want %s", want, is.listed)
				}
			}
			var listed, found, list []string
			topics, _ := r.call(http.StatusOK, http.MethodGet, "/v1/topics", "", token...)["topics"].([]any)
			for _, one := range topics {
				listed = append(listed, fmt.Sprint(at(one, "name"), at(one, "channels")))
			}
			if got := strings.Join(listed, " "); got != is.listed {
				t.Errorf("topics: %s, want %s", got, is.listed)
			}
			everywhere := r.call(http.StatusOK, http.MethodGet, "/v1/entities/p-1", "", token...)
			for _, list := range []struct{ of, name string }{{"topics", "topic"}, {"channels", "channel"}} {
				all, _ := everywhere[list.of].([]any)
				for _, one := range all {
					found = append(found, fmt.Sprint(at(one, list.name)))
				}
			}
			if got := strings.Join(found, " "); got != is.found {
				t.Errorf("the key is in %s, want %s", got, is.found)
			}
			all, _ := r.call(http.StatusOK, http.MethodGet, "/v1/channels", "", token...)["channels"].([]any)
			for _, one := range all {
				list = append(list, fmt.Sprint(at(one, "name")))
			}
			if got := strings.Join(list, " "); got != is.list {
				t.Errorf("channels: %s, want %s", got, is.list)
			}
			// What a channel reads, its administrator sees.
			for _, name := range list {
				reads := r.config(name, func(m map[string]any) { m["from"] = map[string]any{"topic": "policies"} })
				if name != "crm" && name != "web" {
					continue
				}
				try(http.MethodPut, "/v1/channels/"+name+"?dry_run=true", reads)
			}
			_, metrics := r.do(r.request(http.MethodGet, "/metrics", "", token...))
			if got := strings.Contains(metrics, `channel="topics/policies"`); got != sees {
				t.Errorf("metrics of the topic: %t, want %t", got, sees)
			}
			if sees {
				p := r.refused("topic_read", r.call(http.StatusConflict, http.MethodDelete, policies+"?confirm=policies", "", token...))
				if got := strings.Contains(fmt.Sprint(p), "crm, web"); got != (name == "all") {
					t.Errorf("it names the channels: %t: %v", got, p)
				}
			}
		})
	}
}
