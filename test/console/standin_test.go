package console_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"
)

// standIn answers the routes that the API does not have yet.
func standIn(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stub, ok := map[string]string{
			"/v1/session": `{"who":"local","scopes":["read","payload","operate","configure","admin","publish"],"channels":null,"topics":null,"login":"none","version":"0.0.0-test","place":"test","id":"x"}`,
			"/v1/search":  `{"key":{},"channels":[],"topics":[],"targets":[],"prefix":{"entities":[],"looked":0,"of":0}}`,
			"/v1/jobs":    `{"jobs":[]}`,
			"/v1/events":  "",
		}[r.URL.Path]
		if !ok || r.Method != http.MethodGet {
			api.ServeHTTP(w, r)
			return
		}
		probe := httptest.NewRecorder()
		if r.URL.Path != "/v1/events" {
			api.ServeHTTP(probe, r)
			if probe.Code != http.StatusNotFound {
				for k, v := range probe.Header() {
					w.Header()[k] = v
				}
				w.WriteHeader(probe.Code)
				_, _ = w.Write(probe.Body.Bytes())
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(stub))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "event: hello\ndata: {\"at\":%q,\"version\":\"x\"}\n\n", time.Now().Format(time.RFC3339))
		w.(http.Flusher).Flush()
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
				req := httptest.NewRequest("GET", "/v1/overview?limit=200", nil).WithContext(r.Context())
				rec := httptest.NewRecorder()
				api.ServeHTTP(rec, req)
				_, _ = w.Write(eventOf(rec.Body.Bytes()))
				w.(http.Flusher).Flush()
			}
		}
	})
}

func eventOf(overview []byte) []byte {
	var o struct {
		At       json.RawMessage `json:"at"`
		Channels json.RawMessage `json:"channels"`
		Totals   json.RawMessage `json:"totals"`
	}
	if json.Unmarshal(overview, &o) != nil || len(o.Channels) == 0 {
		return []byte(":\n\n")
	}
	return []byte(fmt.Sprintf("event: rows\ndata: {\"at\":%s,\"rows\":%s,\"gone\":[],\"totals\":%s}\n\n", o.At, o.Channels, o.Totals))
}
