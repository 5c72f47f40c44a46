package console_test

import (
	"fmt"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// Keys stay selected over pages, and what is offered is what a job does: the command names
// the keys, and letters of several keys are not replayed by their names.
func TestSelectKeysOverPages(t *testing.T) {
	t.Parallel()
	const keys = 103 // a page has 100
	r := newRig(t)
	r.channel("portal", "sql", r.sqlite("portal"), func(c *channels.Config) { c.Concurrency = 64 })
	r.all(func(yield func(events.Update) bool) {
		for i := range keys {
			if !yield(events.Update{Channel: "portal", Key: fmt.Sprintf("k%03d", i), Version: testkit.Number(1), Payload: []byte(`{}`)}) {
				return
			}
		}
	})
	r.eventually("portal", "in sync", func(c row) bool { return c.Undelivered == 0 && c.Keys == keys })
	p := r.tab(wide(), "")
	p.allow("/v1/entities/k") // 404: no key is just that
	p.goTo("keys?channel=portal&prefix=k")
	p.see("main table", "portal")
	p.click("tbody tr:nth-of-type(1) input[type=checkbox]", "")
	first := eval[string](p, `rig.text(document.querySelector("main tbody tr a.key"))`)
	p.see(".bulk", "The 1 selected")
	p.until("replaying to be offered", `!rig.find(".bulk button", "Replay dead letters…").disabled`)
	p.click(".pager button", "Next")
	p.until("another page", `rig.text(document.querySelector("main tbody tr a.key")) !== `+js(first))
	second := eval[string](p, `rig.text(document.querySelector("main tbody tr a.key"))`)
	p.see(".bulk", "The 1 selected")
	p.click("tbody tr:nth-of-type(1) input[type=checkbox]", "")
	p.see(".bulk", "The 2 selected")
	p.see(".bulk .command", "extsync resync portal --key "+first+" --key "+second)
	p.until("replaying of both not to be offered", `rig.find(".bulk button", "Replay dead letters…").disabled`)
	p.click(".pager button", "Back")
	p.until("the first to be selected still", `document.querySelector("main tbody tr input").checked && rig.text(document.querySelector("main tbody tr a.key")) === `+js(first))
	p.click(".bulk button", "Resync…")
	p.see("dialog[open] button", "Resync 2 keys")
	p.click("dialog[open] button", "Cancel")
	p.click(".bulk label", "Every key that begins so of portal")
	p.see(".bulk .command", "extsync resync portal --key-prefix k")
	p.click(".bulk button", "Resync…")
	p.see("dialog[open] button", fmt.Sprintf("Resync %d keys", keys))
}

// Where a filter fits no key of a window, the page looks further by itself. It found nothing, and
// had to be clicked on for each 2,000 records.
func TestLooksFurtherForAFewKeys(t *testing.T) {
	t.Parallel()
	const keys = 4500 // a window has 2,000
	r := newRig(t)
	r.channel("portal", "sql", r.sqlite("portal"), func(c *channels.Config) { c.Concurrency, c.Filter = 64, ".n % 100 == 99" })
	r.all(func(yield func(events.Update) bool) {
		for i := range keys {
			key := fmt.Sprintf("k%04d", i)
			if i == keys-1 {
				key = "zebra"
			}
			if !yield(events.Update{Channel: "portal", Key: key, Version: testkit.Number(1), Payload: fmt.Appendf(nil, `{"n":%d}`, i)}) {
				return
			}
		}
	})
	r.eventually("portal", "in sync", func(c row) bool { return c.Undelivered == 0 && c.Keys == keys })
	p := r.tab(wide(), "")
	p.allow("/v1/entities/zeb") // 404: no key is just that
	p.goTo("keys?channel=portal&prefix=zeb&sync=in_sync,filtered")
	p.see("main table", "zebra")

	// Without a filter nobody looks for something.
	p.goTo("keys?channel=portal")
	p.see(".empty", "None so far. 2,000 records were looked at.")
	p.click(".empty button", "Look further")
	p.see(".empty", "No key is like that.")
}
