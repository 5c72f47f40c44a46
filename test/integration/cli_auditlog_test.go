package integration

import (
	"fmt"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

type actsDoc struct {
	Acts []struct{ Actor, Action, Target, Result, Error string }
}

// Every command that changes something for others is in the audit log, with who
// has done it, and without what is nobody's business.
func TestCommandsAreInTheAuditLog(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply(target(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("ce-subject"), "bad") {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	s.worker()
	s.extsync("channels", "apply", "-f", filepath.Join(s.dir, "channels.yaml")).ok(t) // changes nothing
	s.extsync("channels", "pause", "erp_db").ok(t)
	s.extsync("channels", "resume", "erp_db").ok(t)
	s.extsync("channels", "clone", "erp_db", "erp_two").ok(t)
	refused(t, s.extsync("channels", "delete", "erp_two"), cli.ExitUsage, "--yes") // is not done
	s.extsync("channels", "delete", "erp_two", "--yes").ok(t)
	s.extsync("channels", "restore", "erp_two").ok(t)
	const secret = "a payload is nobody's business"
	for _, key := range []string{"bad1", "bad2", "bad3"} {
		s.extsync("push", "appointment_calendar", key, "1", "--data", fmt.Sprintf("%q", secret), "--wait", "30s").run(t)
	}
	testkit.Eventually(t, "the letters", func() bool { return len(s.letters().Entries) == 3 })
	letters := s.letters().Entries
	s.extsync("dead", "discard", fmt.Sprint(letters[0].Sequence)).ok(t)
	refused(t, s.extsync("dead", "replay", fmt.Sprint(letters[1].Sequence)), cli.ExitUndelivered, "it fails again")
	s.extsync("dead", "discard", "--channel", "appointment_calendar", "--yes").ok(t)
	s.extsync("push", "erp_db", "k", "1", "--data", "{}", "--wait", "30s").ok(t)
	s.extsync("resync", "erp_db").ok(t)
	s.extsync("key", "reset", "erp_db", "k", "--yes").ok(t)
	refused(t, s.extsync("resync", "erp_db", "--stop"), cli.ExitUnknown)
	token := strings.TrimSpace(s.extsync("tokens", "create", "portal", "--scope", "read", "--admin-key", adminKey(t)).ok(t))

	var doc actsDoc
	text := s.extsync("audit-log", "--json").ok(t)
	decodeJSON(t, text, &doc)
	for _, hidden := range []string{secret, token} {
		if strings.Contains(text, hidden) {
			t.Errorf("the audit log shows %q", hidden)
		}
	}
	var got []string
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range doc.Acts {
		got = append(got, strings.TrimSpace(a.Action+" "+a.Target+" "+a.Result))
		if a.Actor != "command "+me.Username+"@"+host {
			t.Errorf("%s was done by %q", a.Action, a.Actor)
		}
	}
	want := []string{
		"channel.put channel appointment_calendar done", "channel.put channel erp_db done",
		"channel.pause channel erp_db done", "channel.resume channel erp_db done", "channel.clone channel erp_two done",
		"channel.delete channel erp_two done", "channel.restore channel erp_two done",
		"dead_letter.discard channel appointment_calendar done", "dead_letter.replay channel appointment_calendar failed",
		"job.start channel appointment_calendar done", "job.end channel appointment_calendar done",
		"resync.start channel erp_db done", "key.reset channel erp_db done", "resync.stop channel erp_db failed", "token.create token portal done",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the acts are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if table := s.extsync("audit-log").ok(t); strings.Count(table, "\n") != len(want)+1 {
		t.Errorf("not one line each:\n%s", table)
	}
}

// At a broker with roles the log names the key as well.
func TestAuditLogNamesTheBrokersUser(t *testing.T) {
	g := newGuarded(t, "portal")
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, "http://127.0.0.1:9/"))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	var doc actsDoc
	g.program(brokerconfig.Admin, "extsync", "audit-log", "--json").decode(t, &doc)
	keys, err := brokerconfig.Keys(g.dir, brokerconfig.Roles())
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Acts) != 2 || !strings.HasSuffix(doc.Acts[0].Actor, " as "+keys[brokerconfig.Admin]) {
		t.Errorf("not two acts, the first by the admin: %+v", doc)
	}
	e := g.program(brokerconfig.Worker, "extsync", "channels", "pause", "portal").run(t)
	if e.code != cli.ExitBroker || !strings.Contains(e.err, `the permission to publish to "sync.audit.`) {
		t.Errorf("who may not write the log has changed something: %+v", e)
	}
}
