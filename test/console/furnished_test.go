package console_test

import (
	"fmt"
	"net/http"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// furnish fills an installation so that each page has something of everything to show: a
// channel that is well, one by a topic, one whose target is down, one that is paused, and
// one with dead letters.
func furnish(r *rig) {
	r.t.Helper()
	refusing, down := newShelf(r.t), newShelf(r.t)
	refusing.Answers(func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte(`{"error":"field 'premium' must be a number"}`)) // the caller may have gone
	})
	down.Set(func() { down.Down = true })
	r.apply(channels.File{
		Topics: []channels.Topic{{Name: "policies", Description: "Policies of all agencies", MaxBytes: 16 << 20}},
		Channels: []channels.Config{
			channelOf("portal", "http", r.shelf.connector("portal"), func(c *channels.Config) {
				c.Description, c.Mapping = "Cases, in the portal of the agents", "{status, agent: .agent}"
			}),
			channelOf("erp_db", "sql", r.sqlite("policies"), func(c *channels.Config) { c.From = &channels.From{Topic: "policies"} }),
			channelOf("partner", "http", down.connector("partner"), func(c *channels.Config) { c.From = &channels.From{Topic: "policies"} }),
			channelOf("archive", "sql", r.sqlite("archive"), func(c *channels.Config) { c.Paused = new(bool); *c.Paused = true }),
			channelOf("crm", "http", refusing.connector("crm"), func(c *channels.Config) { c.Retry.MaxAttempts = 1 }),
		},
	})
	for i := range 4 {
		key := fmt.Sprintf("case-%d", i)
		r.publish("portal", key, "7", map[string]any{"status": "open", "agent": "Smith", "n": i})
		r.publish("archive", key, "7", map[string]any{"status": "open"})
		r.publish("crm", key, "7", map[string]any{"premium": "none"})
		r.put(events.Update{Topic: "policies", Key: fmt.Sprintf("policy-%d", i), Version: testkit.Number(int64(100 + i)), Payload: []byte(`{"premium":12.5}`)})
	}
	for i := range 4 {
		key := fmt.Sprintf("case-%d", i)
		r.state("portal", key, "7", "delivered")
		r.state("crm", key, "7", "dead_lettered")
		r.state("erp_db", fmt.Sprintf("policy-%d", i), fmt.Sprint(100+i), "delivered")
	}
	r.eventually("partner", "down", func(c row) bool { return c.Health == "down" })
	r.eventually("crm", "with dead letters", func(c row) bool { return c.Dead == 4 })
}
