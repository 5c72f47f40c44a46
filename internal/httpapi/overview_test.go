package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
)

// A broker that came back older was said by doctor and the metrics only; a channel whose ledger has
// no key of those that wait made the sum of all copies too small.
func TestOverviewOfARestoredBroker(t *testing.T) {
	r := newRig(t).serve()
	r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "x"))
	var found map[string]any
	r.eventually("the update to be counted", func() bool {
		found = r.call(http.StatusOK, http.MethodGet, "/v1/overview", "")
		return at(found, "totals", "not_newest") == 1.0
	})
	if at(found, "totals", "copies") != 1.0 || at(row(found, "erp"), "copies") != 1.0 || found["restored"] != nil || at(found, "totals", "needs_person") != 2.0 { // no worker
		t.Errorf("before: %v", found)
	}
	progress, err := channels.OpenProgress(t.Context(), r.client.JS, r.client.Names)
	r.must(err)
	registry, err := r.client.Registry(t.Context())
	r.must(err)
	e, err := registry.Get(t.Context(), "erp")
	r.must(err)
	_, err = progress.Write(t.Context(), "erp", e.Generation, 0, channels.Progress{Restored: 1_700_000_000}, 0) // by a worker that has ended since
	r.must(err)
	r.eventually("it to be said", func() bool {
		found = r.call(http.StatusOK, http.MethodGet, "/v1/overview", "")
		return found["restored"] == "2023-11-14T22:13:20Z" && at(found, "totals", "copies") == 1.0
	})
}

const script = `<script>alert("k")</script>`

// names returns a field of each element of a list, in order.
func names(list any, field string) string {
	var out []string
	all, _ := list.([]any)
	for _, one := range all {
		out = append(out, fmt.Sprint(at(one, field)))
	}
	return strings.Join(out, " ")
}

// row returns a channel's row of an overview.
func row(overview map[string]any, channel string) any {
	all, _ := overview["channels"].([]any)
	for _, one := range all {
		if at(one, "channel") == channel {
			return one
		}
	}
	return nil
}

// A channel that delivers and has dead letters is ok, with their number, and they need a person.
// What a target, a key or a description says is text in JSON, whatever it is.
func TestOverviewOfDeadLetters(t *testing.T) {
	r := newRig(t)
	cfg := r.channel("erp")
	cfg.Description = script
	_, err := r.client.Apply(t.Context(), channels.File{Channels: []channels.Config{cfg}}, false)
	r.must(err)
	r.serve().work()
	r.call(http.StatusOK, http.MethodPost, updates+"?wait=30s", update("good", "1", "x"))
	r.target.fail.Store(http.StatusUnprocessableEntity)
	r.call(http.StatusOK, http.MethodPost, updates+"?wait=30s", update(strings.ReplaceAll(script, `"`, `'`), "1", "x"))
	r.target.fail.Store(0)
	r.eventually("the dead letter to be counted", func() bool {
		found := r.call(http.StatusOK, http.MethodGet, "/v1/overview", "")
		erp := row(found, "erp")
		return at(erp, "dead") == 1.0 && at(erp, "health") == "ok" && at(erp, "sync", "in_sync") == 1.0 && at(erp, "published_rate") != nil
	})
	found := r.call(http.StatusOK, http.MethodGet, "/v1/overview", "")
	if erp := row(found, "erp"); at(erp, "description") != script || at(erp, "kind") != "http" || at(erp, "target") != r.target.URL || at(erp, "keys") != 2.0 || at(erp, "not_newest") != 1.0 {
		t.Errorf("%v", erp)
	}
	if at(found, "totals", "needs_person") != 1.0 || at(found, "totals", "ok") != 2.0 || at(found, "totals", "dead") != 1.0 || at(found, "totals", "by_health", "ok") != 2.0 {
		t.Errorf("%v", found["totals"])
	}
	if names(found["attention"], "channel")+names(found["attention"], "why")+names(found["attention"], "act")+names(found["attention"], "person") != "erpdead_lettereddeadtrue" {
		t.Errorf("%v", found["attention"])
	}
	resp, text := r.do(r.request(http.MethodGet, "/v1/overview", ""))
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v\n%s", resp.Header, text)
	}
}

// A target that answers nobody is down, which mends itself, and a paused channel with updates
// needs a person.
func TestOverviewOfWhatWaits(t *testing.T) {
	r := newRig(t).serve().work()
	r.target.fail.Store(http.StatusServiceUnavailable)
	for i := range 30 {
		r.call(http.StatusAccepted, http.MethodPost, updates, update(fmt.Sprint("k", i), "1", "x"))
	}
	r.call(http.StatusOK, http.MethodPut, "/v1/channels/portal/pause", "")
	r.call(http.StatusAccepted, http.MethodPost, "/v1/channels/portal/updates", update("k", "1", "x"))
	r.eventually("erp to be down, and portal paused", func() bool {
		found := r.call(http.StatusOK, http.MethodGet, "/v1/overview", "")
		return at(row(found, "erp"), "health") == "down" && at(row(found, "portal"), "health") == "paused" &&
			strings.HasPrefix(names(found["attention"], "why"), "paused circuit_open") && strings.HasPrefix(names(found["attention"], "act"), "resume probe") &&
			strings.HasPrefix(names(found["attention"], "person"), "true false") && at(row(found, "erp"), "why", "code") == "circuit_open"
	})
}

// A limited token hears of its own channels and topics in all parts of the overview.
func TestOverviewOfALimitedToken(t *testing.T) {
	r := newRig(t).asking()
	r.topics()
	r.serve()
	r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "x"), r.limited(nil, nil)...)
	r.call(http.StatusAccepted, http.MethodPost, "/v1/channels/portal/updates", update("k", "1", "x"), r.limited(nil, nil)...)
	for _, c := range []struct {
		channels, topics []string
		rows, shown      string
		undelivered      float64
		attention        string
	}{
		{nil, nil, "crm erp portal web", "policies", 2, "erp portal"},
		{[]string{"portal"}, nil, "portal", "", 1, "portal"},
		{[]string{"crm"}, []string{"policies"}, "crm", "policies", 0, ""},
	} {
		token := r.limited(c.channels, c.topics)
		r.eventually(fmt.Sprintf("the overview of %v", c.channels), func() bool {
			found := r.call(http.StatusOK, http.MethodGet, "/v1/overview", "", token...)
			return names(found["channels"], "channel") == c.rows && names(found["topics"], "topic") == c.shown &&
				at(found, "totals", "undelivered") == c.undelivered && strings.HasPrefix(names(found["attention"], "channel"), c.attention)
		})
	}
	first := r.call(http.StatusOK, http.MethodGet, "/v1/overview?limit=3", "", r.limited(nil, nil)...)
	next, _ := first["next"].(string)
	second := r.call(http.StatusOK, http.MethodGet, "/v1/overview?limit=3&cursor="+next, "", r.limited(nil, nil)...)
	if names(first["channels"], "channel") != "crm erp portal" || names(second["channels"], "channel") != "web" || second["next"] != "" || second["totals"] != nil {
		t.Errorf("%v\n%v", first, second)
	}
	for _, wrong := range []string{"limit=0", "limit=201", "cursor=x"} {
		r.call(http.StatusUnprocessableEntity, http.MethodGet, "/v1/overview?"+wrong, "", r.limited(nil, nil)...)
	}
}

// A channel that cannot be looked at, an audit record that cannot be read, and jobs that cannot be
// listed hide nothing else.
func TestOverviewOfWhatCannotBeRead(t *testing.T) {
	r := newRig(t).serve()
	js, names := r.client.JS, r.client.Names
	for subject, data := range map[string]string{
		wire.KVSubject(wire.ProgressBucket(names), "erp.g1.p0"): "{",
		wire.Audit(names, "odd"):                                "{",
	} {
		_, err := js.Publish(t.Context(), subject, []byte(data))
		r.must(err)
	}
	r.must(js.DeleteKeyValue(t.Context(), wire.JobsBucket(names)))
	r.eventually("the channel to be told", func() bool {
		found := r.call(http.StatusOK, http.MethodGet, "/v1/overview", "")
		erp := row(found, "erp")
		return at(erp, "why", "code") == "broker_refuses" && at(erp, "why", "since") == nil && at(row(found, "portal"), "why", "code") == "no_worker"
	})
}
