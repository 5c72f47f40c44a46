package auditlog_test

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// A record that cannot be read is told, and hides no other.
func TestPageWithAnUnreadableRecord(t *testing.T) {
	broker, names := natstest.Run(t), events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), broker.JS, names, channels.Storage{}))
	log := auditlog.Open(broker.JS, names)
	nothing := func(context.Context) (any, error) { return nil, nil }
	testkit.Must(t, log.Do(t.Context(), auditlog.Act{Action: "a"}, nothing))
	_, err := broker.JS.Publish(t.Context(), wire.Audit(names, "odd"), []byte("{"))
	testkit.Must(t, err)
	testkit.Must(t, log.Do(t.Context(), auditlog.Act{Action: "b"}, nothing))
	actions := func(found []auditlog.Entry) (out []string) {
		for i := range found {
			out = append(out, found[i].Action)
		}
		return out
	}
	acts, next, err := log.Page(t.Context(), auditlog.Query{Limit: 10})
	if err != nil || next != 0 || !slices.Equal(actions(acts), []string{"b", "unreadable", "a"}) {
		t.Errorf("%+v, %d, %v", acts, next, err)
	}
	since, err := log.Since(t.Context(), 0)
	if err != nil || !slices.Equal(actions(since), []string{"a", "a", "unreadable", "b", "b"}) {
		t.Errorf("%+v, %v", since, err)
	}
}

// A page looks at so many bytes of the log at most, and the next one goes on.
func TestPageOfLargeRecords(t *testing.T) {
	broker, names := natstest.Run(t), events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), broker.JS, names, channels.Storage{}))
	const records = 200
	large := strings.Repeat("x", 200<<10)
	for i := range records {
		id := strconv.Itoa(i)
		_, err := broker.JS.Publish(t.Context(), wire.Audit(names, "a"), []byte(`{"f":1,"id":"`+id+`","action":"a","result":"started","before":"`+large+`"}`))
		testkit.Must(t, err)
	}
	log := auditlog.Open(broker.JS, names)
	looked, pages := 0, 0
	for before := uint64(0); ; pages++ {
		_, next, err := log.Page(t.Context(), auditlog.Query{Before: before, Limit: 10, Selects: func(*auditlog.Record) bool { looked++; return false }})
		testkit.Must(t, err)
		if before = next; next == 0 {
			break
		}
	}
	if looked != records || pages < 1 {
		t.Errorf("looked at %d records, and %d pages had a next one", looked, pages)
	}
}
