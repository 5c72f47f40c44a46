package console_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// Letters are sent again when the target is mended: a dry run says first what would happen,
// a job does it, and the page follows it.
func TestReplayWithADryRun(t *testing.T) {
	t.Parallel()
	const letters = 5 // more would have the target suspected, and held back
	r := newRig(t)
	refusing := newShelf(t)
	refusing.Answers(func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write([]byte("field 'premium' must be a number")) // the caller may have gone
	})
	r.channel("crm", "http", refusing.connector("crm"), func(c *channels.Config) { c.Retry.MaxAttempts = 1 })
	for i := range letters {
		r.publish("crm", fmt.Sprint("k", i), "1", `{"premium":1}`)
	}
	r.eventually("crm", "with dead letters", func(c row) bool { return c.Dead == letters })
	refusing.Heal()
	p := r.tab(wide(), "dead?channel=crm")
	p.see("details.group[open] summary", "5")
	p.click("button", "Replay 5 letters…")
	p.see("dialog[open] .tally li", "5 would be sent to the target now")
	p.see("dialog[open] .tally li", "0 can go back")
	p.see("dialog[open] .command", "extsync dead replay")
	if refusing.writes("crm", "k0") != 0 {
		t.Error("a dry run has sent something")
	}
	p.click("dialog[open] button", "Cancel")

	// What the plan could not look at is tried, too, and what stands in the way is said.
	eval[bool](p, `(() => {
		const real = fetch;
		globalThis.fetch = async (...a) => {
			globalThis.fetch = real;
			const answer = await (await real(...a)).json();
			answer.plan.note = "the channel is paused";
			answer.plan.outcomes.push({ outcome: "not_looked_at", count: 7, text: "were not looked at" });
			return new Response(JSON.stringify(answer));
		};
		return true;
	})()`)
	p.click("button", "Replay 5 letters…")
	p.see("dialog[open] .note", "the channel is paused")
	p.see("dialog[open] button", "Replay 12 letters")
	p.click("dialog[open] button", "Cancel")
	p.click("button", "Replay 5 letters…")
	p.fill("#reason", "premium is a number now")
	p.click("dialog[open] button", "Replay 5 letters")
	p.see(".jobs h3", "Replay in crm is done")
	p.see(".jobs", "5 of 5.")
	p.see(".jobs", "5 delivered")
	for i := range letters {
		if got := refusing.holds("crm", fmt.Sprint("k", i)); got != "1" {
			t.Errorf("k%d: the target holds %q", i, got)
		}
	}
	p.click("button", "look again")
	p.see("main", "No letter is open.")
	p.goTo("activity")
	p.see("main", "premium is a number now")
}

// Ten thousand letters are a few reasons: each has its count, and is replayed or discarded as
// one, by a job that somebody can watch and stop.
func TestTriageOfDeadLettersByGroup(t *testing.T) {
	t.Parallel()
	letters, discarded, replayed := 2000, 300, 50
	if os.Getenv(fullVariable) != "" {
		letters = 10_000
	}
	grouped := func(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }
	crm := grouped(letters - discarded - replayed)
	r := newRig(t)
	triaged := func(name, mapping string) {
		r.channel(name, "sql", r.sqlite(name), func(c *channels.Config) {
			c.Retry.MaxAttempts, c.Concurrency, c.MaxBytes, c.Mapping = 1, 64, 64<<20, mapping
		})
	}
	for name, n := range map[string]int{"crm": letters - discarded - replayed, "desk": discarded, "mail": replayed} {
		triaged(name, "if .bad then error else {id} end")
		r.all(func(yield func(events.Update) bool) {
			for i := range n {
				// Without any that get through the channel would be blocked.
				if i%2 == 0 && !yield(events.Update{Channel: name, Key: fmt.Sprint("good", i), Version: testkit.Number(1), Payload: []byte(`{"id":1}`)}) {
					return
				}
				if !yield(events.Update{Channel: name, Key: fmt.Sprint("k", i), Version: testkit.Number(1), Payload: fmt.Appendf(nil, `{"id":%d,"bad":true}`, i)}) {
					return
				}
			}
		})
	}
	for _, name := range []string{"crm", "desk", "mail"} {
		more := 0
		r.eventually(name, "done with all", func(c row) bool {
			if c.Health == "blocked" { // so many have failed in a row: one that gets through ends that
				more++
				r.publish(name, "good", fmt.Sprint(more), `{"id":1}`)
			}
			return c.Undelivered == 0
		})
	}
	p := r.tab(wide(), "dead")
	p.see("main", grouped(letters)+" updates were given up, for 3 reasons.")
	p.see("details.group:nth-of-type(1) summary", crm)
	p.see("details.group:nth-of-type(2) summary", "300")
	p.see("details.group:nth-of-type(3) summary", "50")

	p.click("details.group summary", "desk")
	p.click("details.group[open] button", "Discard with a reason…")
	p.see("dialog[open] .tally li", "300 would be given up for good")
	p.until("discarding to need a reason", `rig.find("dialog[open] button", "Discard 300 letters").disabled`)
	p.fill("#reason", "these agents have left")
	p.click("dialog[open] button", "Discard 300 letters")
	p.see(".jobs h3", "Discard in desk is done")

	triaged("mail", "{id}")
	p.goTo("dead?outcome=dead_lettered")
	p.see("main", grouped(letters-discarded)+" updates were given up, for 2 reasons.")
	p.click("details.group summary", "mail")
	p.click("details.group[open] button", "Replay 50 letters…")
	p.see("dialog[open] .tally li", "50 would be sent to the target now")
	p.click("dialog[open] button", "Replay 50 letters")
	p.see(".jobs h3", "Replay in mail is done")
	r.eventually("mail", "without dead letters", func(c row) bool { return c.Dead == 0 })

	// A job that takes long is stopped: what it has done stays done.
	p.goTo("dead?channel=crm")
	p.see("main", crm+" updates were given up, for 1 reason.")
	p.click("details.group[open] button", "Replay "+crm+" letters…")
	p.click("dialog[open] button", "Replay "+crm+" letters")
	p.see(".jobs h3", "Replay in crm runs")
	p.click(".jobs button", "Stop after this one")
	p.until("the job to have ended", `/Replay in crm (was stopped|is done)/.test(rig.text(document.querySelector(".jobs")))`)
	p.fewRows()
}
