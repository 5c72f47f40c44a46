package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/tokens"
)

// pages reads a list to its end: the keys with their channels, and how many pages there were.
func (r *rig) pages(path string, headers ...string) (seen map[string]bool, pages int) {
	r.t.Helper()
	seen = map[string]bool{}
	for cursor := ""; ; {
		page := r.call(http.StatusOK, http.MethodGet, path+"&cursor="+cursor, "", headers...)
		entities, _ := page["entities"].([]any)
		for _, e := range entities {
			seen[fmt.Sprint(at(e, "channel"), " ", at(e, "key"))] = true
		}
		pages++
		if cursor, _ = page["next"].(string); cursor == "" {
			return seen, pages
		}
	}
}

// One list has the keys of all channels that the token is for.
func TestListOfAllChannels(t *testing.T) {
	r := newRig(t).asking().serve()
	publish := r.token(tokens.Publish)
	const keys = 15
	for _, channel := range []string{"erp", "portal"} {
		for i := range keys {
			r.call(http.StatusAccepted, http.MethodPost, "/v1/channels/"+channel+"/updates", update(fmt.Sprint("k", i), "1", "x"), "Authorization", "Bearer "+publish)
		}
	}
	all := []string{"Authorization", "Bearer " + r.token(tokens.Read)}
	some := []string{"Authorization", "Bearer " + r.token(tokens.Read, "portal")}
	if seen, pages := r.pages("/v1/entities?sync=behind,waiting&limit=10", all...); len(seen) != 2*keys || pages < 3 || !seen["erp k3"] || !seen["portal k14"] {
		t.Errorf("%d pages: %v", pages, seen)
	}
	if seen, _ := r.pages("/v1/entities?limit=10", some...); len(seen) != keys || !seen["portal k3"] {
		t.Errorf("a token of portal alone: %v", seen)
	}
	if seen, _ := r.pages("/v1/entities?older_than=7d", all...); len(seen) != 0 {
		t.Errorf("of last week: %v", seen)
	}
	if seen, pages := r.pages("/v1/entities?health=parked&limit=10", all...); len(seen) != 0 || pages != 1 {
		t.Errorf("what is parked: %v", seen)
	}
	for _, wrong := range []string{"cursor=x", "cursor=erp:x", "cursor=" + strings.Repeat("x", 111), "why=odd", "limit=0", "health=odd"} {
		r.call(http.StatusUnprocessableEntity, http.MethodGet, "/v1/entities?"+wrong, "", all...)
	}
	// A channel that is gone by now leaves the others.
	if page := r.call(http.StatusOK, http.MethodGet, "/v1/entities?limit=1&cursor=gone:s7", "", all...); len(page["entities"].([]any)) != 1 { //nolint:forcetypeassert // as described
		t.Errorf("%v", page)
	}
}

// A page that began in the stream went on in the ledger at the same number, and left out what
// lies before it there.
func TestListGoesOnAtTheBeginningOfTheLedger(t *testing.T) {
	r := newRig(t).serve().work()
	r.target.fail.Store(http.StatusUnprocessableEntity)
	for i := range 3 {
		r.call(http.StatusOK, http.MethodPost, updates+"?wait=30s", update(fmt.Sprint("dead", i), "1", "x"))
	}
	r.eventually("the ledger has the dead ones", func() bool {
		seen, _ := r.pages("/v1/channels/erp/entities?health=dead")
		return len(seen) == 3
	})
	r.call(http.StatusOK, http.MethodPut, "/v1/channels/erp/pause", "")
	const keys = 25
	for i := range keys {
		r.call(http.StatusAccepted, http.MethodPost, updates, update(fmt.Sprint("k", i), "1", "x"))
	}
	if seen, _ := r.pages("/v1/channels/erp/entities?limit=10"); len(seen) != keys+3 {
		t.Errorf("%v", seen)
	}
}

// Updates that are settled stay in a channel's stream. A list by the beginning of keys, and the
// search, looked at all of them before the records of the ledger, and found nothing for pages.
func TestListByPrefixLeavesOutWhatIsSettled(t *testing.T) {
	r := newRig(t).serve().work()
	const keys = 10
	for i := range keys {
		r.call(http.StatusOK, http.MethodPost, updates+"?wait=30s", update(fmt.Sprint("k", i), "1", "x"))
	}
	r.eventually("the ledger to have them", func() bool {
		seen, _ := r.pages("/v1/channels/erp/entities?sync=in_sync")
		return len(seen) == keys
	})
	list := "/v1/channels/erp/entities?prefix=k"
	r.eventually("a page to look at the ledger's records only", func() bool {
		page := r.call(http.StatusOK, http.MethodGet, list, "")
		if found := len(page["entities"].([]any)); found != keys { //nolint:forcetypeassert // as described
			t.Errorf("%d keys are listed, not %d", found, keys)
		}
		return page["looked"] == float64(keys) && page["of"] == float64(keys)
	})
	// What was published a moment ago waits, and is listed all the same.
	r.target.fail.Store(http.StatusServiceUnavailable)
	for i := range keys {
		r.call(http.StatusAccepted, http.MethodPost, updates, update(fmt.Sprint("k", i), "2", "x"))
		if seen, _ := r.pages(fmt.Sprintf("/v1/channels/erp/entities?sync=waiting,behind&prefix=k%d", i)); !seen[fmt.Sprint("erp k", i)] {
			t.Errorf("k%d was just published, and does not wait: %v", i, seen)
		}
	}
}
