package main

import (
	"database/sql"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the target's driver

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// A command that did not do what it was told to does not say that it did.
func TestSmallLies(t *testing.T) {
	s := newSession(t)
	run := func(t *testing.T, command string, code int, says ...string) {
		t.Helper()
		var out strings.Builder
		got := s.play(t, &out, "$ extsync "+command)
		if got != code {
			t.Errorf("exit code %d, want %d", got, code)
		}
		for _, want := range says {
			if !strings.Contains(out.String(), want) {
				t.Errorf("it does not say %q", want)
			}
		}
		if t.Failed() {
			t.Log(out.String())
		}
	}
	run(t, "channels apply -f channels.yaml", cli.ExitOK)
	run(t, `push erp_db good 7 --data '{"content":"a"}' --wait 20s`, cli.ExitOK)
	run(t, `push erp_db bad 1 --data '{"bad":true}' --wait 20s`, cli.ExitUndelivered)
	run(t, `push crm k 1 --data '{}'`, cli.ExitOK)

	t.Run("clone onto an existing name", func(t *testing.T) {
		run(t, "channels clone erp_db crm", cli.ExitRefused, "there is a channel of that name: crm", "channels apply")
		run(t, "channels show crm", cli.ExitOK, "https://crm.example/in")
	})
	t.Run("restore of a live channel", func(t *testing.T) {
		run(t, "channels restore crm", cli.ExitOK, "nothing to do: it is not deleted")
	})
	t.Run("resync of an unknown key", func(t *testing.T) {
		run(t, "resync erp_db --key good --key god", cli.ExitUnknown, `"god"`)
		run(t, "resync erp_db --key god --dry-run", cli.ExitUnknown, `"god"`)
		run(t, "resync erp_db --key good", cli.ExitOK, "1 delivered")
	})
	t.Run("dead letters of an unknown channel", func(t *testing.T) {
		for _, command := range []string{"dead list --channel erp_dd", "dead replay --channel erp_dd --yes", "dead discard --channel erp_dd --yes"} {
			run(t, command, cli.ExitUnknown, "did you mean erp_db?")
		}
	})
	t.Run("a token for an unknown channel", func(t *testing.T) {
		run(t, "tokens key --out admin.key", cli.ExitOK)
		run(t, "tokens create portal --admin-key admin.key --scope publish --channel erp_db,erp_dd", cli.ExitUnknown, "did you mean erp_db?")
		run(t, "tokens list --admin-key admin.key", cli.ExitOK)
	})
	t.Run("a resync that is paused", func(t *testing.T) {
		run(t, "resync crm --detach", cli.ExitOK) // the channel is paused: nothing can fail or end
		run(t, "resync crm --pause", cli.ExitOK, "resync paused")
		run(t, "resync crm --stop", cli.ExitOK, "resync stopped")
	})
	t.Run("an import with rejects", func(t *testing.T) {
		run(t, "import crm some.ndjson", cli.ExitRejected, "5 rejected", "some.ndjson.crm.rejects")
		run(t, "import crm some.ndjson --json", cli.ExitRejected, `"code":"rejected"`) // nothing is left, but that
	})
	t.Run("a delete with data", func(t *testing.T) {
		run(t, "push crm k 2 --op delete --data {}", cli.ExitUsage, "a delete has none")
		run(t, "push crm k 2 --op delete", cli.ExitOK)
	})
	t.Run("a replay keeps the number of its letter", func(t *testing.T) {
		run(t, "dead replay 1", cli.ExitUndelivered, "dead letter 1: it fails again")
		run(t, "dead replay --channel erp_db --yes", cli.ExitUnexpected, "1 failed", "dead letter 1: it fails again")
		run(t, "dead show 1", cli.ExitOK, "state:         open")
		run(t, "dead show 2", cli.ExitUnknown)
	})
	t.Run("get on a paused and on a deleted channel", func(t *testing.T) {
		run(t, "get crm k", cli.ExitOK, "paused: ")
		run(t, "channels delete crm --yes", cli.ExitOK)
		run(t, "get crm k", cli.ExitOK, "deleted")
		run(t, "channels clone erp_db crm", cli.ExitRefused, "was deleted, and is kept until", "channels restore")
		run(t, "channels restore crm", cli.ExitOK, "restored")
	})
	t.Run("ahead in an audit", func(t *testing.T) {
		db, err := sql.Open("sqlite", "erp.db")
		testkit.Must(t, err)
		defer func() { testkit.Must(t, db.Close()) }()
		_, err = db.ExecContext(t.Context(), `update entities set version = 9 where key = 'good'`)
		testkit.Must(t, err)
		run(t, "audit erp_db", cli.ExitFound, "1 ahead", "'extsync push erp_db KEY VERSION'", "'extsync audit erp_db --repair'")
		run(t, "audit erp_db --json", cli.ExitFound, `"next": {`)
	})
	t.Run("errors with --json", func(t *testing.T) {
		run(t, "get nothing --json", cli.ExitUnknown, `2| {"error":{"exit_code":7,"code":"unknown_key",`)
		run(t, "get --json", cli.ExitUsage, `2| {"error":{"exit_code":2,"code":"usage",`)
	})
}
