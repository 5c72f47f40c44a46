package httpapi_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/wire"
)

// A key whose newest version waits was listed twice: as it stands, and, by its record in the
// ledger, as in sync. A job took all that was in sync for it.
func TestKeyThatWaitsIsNotInSyncToo(t *testing.T) {
	r := newRig(t).serve().work()
	const keys = 5
	for i := range keys {
		r.call(http.StatusOK, http.MethodPost, updates+"?wait=30s", update(fmt.Sprint("k", i), "1", "x"))
	}
	inSync := func() int {
		seen, _ := r.pages("/v1/channels/erp/entities?sync=in_sync&limit=2")
		return len(seen)
	}
	r.eventually("the ledger to have them", func() bool { return inSync() == keys })
	defer r.target.hold()()
	for i := range 2 {
		r.call(http.StatusAccepted, http.MethodPost, updates, update(fmt.Sprint("k", i), "2", "x"))
	}
	if n := inSync(); n != keys-2 {
		t.Errorf("%d keys are in sync, not %d", n, keys-2)
	}
	rows := map[string][]any{}
	for cursor, done := "", false; !done; done = cursor == "" {
		page := r.call(http.StatusOK, http.MethodGet, "/v1/channels/erp/entities?prefix=k&limit=2&cursor="+cursor, "")
		for _, e := range page["entities"].([]any) { //nolint:forcetypeassert // as described
			key := fmt.Sprint(at(e, "key"))
			rows[key] = append(rows[key], at(e, "sync"))
		}
		cursor, _ = page["next"].(string)
	}
	for i := range keys {
		key, want := fmt.Sprint("k", i), "in_sync"
		if i < 2 {
			want = "waiting"
		}
		if got := rows[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is listed as %v, not once as %s", key, got, want)
		}
	}
	if plan := r.call(http.StatusOK, http.MethodPost, "/v1/jobs", `{"action":"resync","dry_run":true,"reason":"x","entities":{"channel":"erp","sync":["in_sync"]}}`); fmt.Sprint(at(plan, "plan", "total")) != fmt.Sprint(keys-2) {
		t.Errorf("a job would take others: %v", plan)
	}
}

// A key whose record was written anew while a page was read, as one is that is tried again, was on
// no page.
func TestListIsCompleteWhileRecordsAreWritten(t *testing.T) {
	r := newRig(t).serve().work()
	const keys = 200
	for i := range keys {
		r.call(http.StatusAccepted, http.MethodPost, updates, update(fmt.Sprint("k", i), "1", "x"))
	}
	list := "/v1/channels/erp/entities?sync=in_sync&limit=1000"
	r.eventually("the ledger to have them", func() bool {
		seen, _ := r.pages(list)
		return len(seen) == keys
	})
	ledger := wire.StreamQuery{Stream: wire.KVStream(wire.LedgerBucket(r.client.Names)), Subject: wire.LedgerRecords(r.client.Names, "erp")}
	var records []*nats.Msg
	for msg, err := range wire.ReadStream(t.Context(), r.client.JS, ledger) {
		r.must(err)
		records = append(records, &nats.Msg{Subject: msg.Subject, Data: msg.Data})
	}
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			if _, err := r.client.JS.PublishMsg(context.WithoutCancel(ctx), records[n%keys]); err != nil {
				written <- err
				return
			}
		}
		written <- nil
	}()
	for range 5 {
		if seen, _ := r.pages(list); len(seen) != keys {
			t.Errorf("%d of %d keys are listed", len(seen), keys)
		}
	}
	stop()
	r.must(<-written)
}

// A record without its key, as somebody else may have stored it, ends no list.
func TestListGoesOnBehindARecordWithoutAKey(t *testing.T) {
	r := newRig(t).serve()
	data := `{"f":1,"state":"settled","settled":{"version":1},"applied":{"version":1}}`
	_, err := r.client.JS.Publish(t.Context(), wire.LedgerSubject(r.client.Names, "erp", "odd"), []byte(data))
	r.must(err)
	r.call(http.StatusAccepted, http.MethodPost, updates, update("k", "1", "x"))
	if seen, _ := r.pages("/v1/channels/erp/entities?sync=in_sync,waiting,behind,unknown,filtered"); !seen["erp k"] {
		t.Errorf("%v", seen)
	}
}
