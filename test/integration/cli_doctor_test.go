package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/testkit"
)

// permissionsDoc is what doctor says of permissions.
type permissionsDoc struct {
	Findings []struct {
		Check, Level, Subject, Message, Advice string
		Missing                                struct{ Publish, Subscribe []string }
	}
}

// found runs doctor and returns its findings of permissions, as "level subject",
// and what is missing.
func (p permissionsDoc) permissions(t *testing.T) (found, publish, subscribe []string) {
	t.Helper()
	for _, f := range p.Findings {
		if (f.Level == "ok") != (f.Advice == "") {
			t.Errorf("a finding without advice: %+v", f)
		}
		if strings.Contains(f.Message, "deadline") || strings.Contains(f.Message, "timeout") {
			t.Errorf("it waited for an answer that does not come: %+v", f)
		}
		if f.Check == "permissions" {
			found = append(found, f.Level+" "+f.Subject)
			publish, subscribe = append(publish, f.Missing.Publish...), append(subscribe, f.Missing.Subscribe...)
		}
	}
	return found, publish, subscribe
}

func TestDoctorNamesMissingPermissions(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "portal")
	url := target(t, func(http.ResponseWriter, *http.Request) {})
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, url))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	doctor := func(role brokerconfig.Role, code int, args ...string) (doc permissionsDoc) {
		t.Helper()
		e := g.program(role, "extsync", append([]string{"doctor", "--json"}, args...)...).run(t)
		if e.code != code {
			t.Fatalf("doctor as %s: code %d\n%s%s", role, e.code, e.out, e.err)
		}
		decodeJSON(t, e.out, &doc)
		return doc
	}

	// The channel cases came after the configuration was written.
	for _, role := range []brokerconfig.Role{brokerconfig.Publisher, brokerconfig.Gateway, brokerconfig.Worker} {
		found, publish, _ := doctor(role, cli.ExitFound).permissions(t)
		if want := []string{fmt.Sprintf("problem role %s, channel cases", role)}; !slices.Equal(found, want) {
			t.Errorf("%s: %q, want %q", role, found, want)
		}
		subject := "sync.updates.cases.*"
		if role == brokerconfig.Worker {
			subject = "sync.out.cases.*.*"
		}
		if !slices.Contains(publish, subject) {
			t.Errorf("%s: %s is not among what is missing: %q", role, subject, publish)
		}
	}
	found, publish, subscribe := doctor(brokerconfig.Publisher, cli.ExitFound, "--role", "worker").permissions(t)
	if len(found) != 3 || !slices.Contains(publish, "$KV.sync_leases.>") || !slices.Contains(subscribe, "sync.ctl.portal.*") {
		t.Errorf("a publisher as a worker: %q, %q, %q", found, publish, subscribe)
	}
	e := g.program(brokerconfig.Worker, "extsync", "doctor").run(t)
	for _, want := range []string{"channel cases: may not publish to ", "; may not subscribe to sync.ctl.cases.*", "extsync broker-config --registry"} {
		if !strings.Contains(e.out, want) {
			t.Errorf("it does not say %q:\n%s", want, e.out)
		}
	}

	// The administrator sees all of it, and is not limited to channels.
	doc := doctor(brokerconfig.Admin, cli.ExitFound)
	if found, _, _ = doc.permissions(t); !slices.Equal(found, []string{"ok role admin"}) || len(doc.Findings) < 8 {
		t.Errorf("admin: %+v", doc)
	}

	// Whoever does not hear the answers is told so, and why.
	deaf := g.program(brokerconfig.Worker, "extsync", "doctor", "--json")
	deaf.env = slices.DeleteFunc(deaf.env, func(s string) bool { return strings.HasPrefix(s, "EXTSYNC_NATS_INBOX_PREFIX=") })
	e = deaf.run(t)
	if e.code != cli.ExitFound || !strings.Contains(e.out, "_INBOX") || !strings.Contains(e.out, "--nats-inbox-prefix") {
		t.Errorf("without its inbox prefix: %+v", e)
	}
	refused(t, g.program(brokerconfig.Admin, "extsync", "doctor", "--role", "king"), cli.ExitUsage, "king", "gateway")
}

// With the permissions in order a worker is shown the targets as well, from where
// the workers run; a publisher is told what it was not shown.
func TestDoctorAsEachRole(t *testing.T) {
	g := newGuarded(t, "portal,cases")
	url := target(t, func(http.ResponseWriter, *http.Request) {})
	file := g.site.file("channels.yaml", fmt.Sprintf(guardedChannels, url))
	g.program(brokerconfig.Admin, "extsync", "channels", "apply", "-f", file).ok(t)
	for role, wants := range map[brokerconfig.Role][]string{
		brokerconfig.Publisher: {"none is missing to U", "for the role admin"},
		brokerconfig.Worker:    {"none is missing to U", "target: portal", "target: cases", "guard: portal: by format: ", "channels test portal --guard"},
	} {
		out := g.program(role, "extsync", "doctor").ok(t)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("%s: it does not say %q:\n%s", role, want, out)
			}
		}
		if role == brokerconfig.Publisher && strings.Contains(out, "target: ") {
			t.Errorf("a publisher was shown targets:\n%s", out)
		}
	}
}

// What doctor --fix may tidy, it tidies, and it says what it did.
func TestDoctorFix(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.apply(target(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("ce-entityversion") == "1" {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	s.worker()
	s.extsync("push", "appointment_calendar", "k", "1", "--data", "{}", "--wait", "30s").run(t)
	testkit.Eventually(t, "a letter", func() bool { return len(s.letters().Entries) == 1 })
	stays := s.letters().Entries[0].Sequence
	if out := s.extsync("doctor", "--fix").ok(t); strings.Contains(out, "removed") {
		t.Errorf("there was nothing to tidy:\n%s", out)
	}
	// A worker that is killed right behind the next delivery leaves the letter
	// behind; here it is put back instead.
	stream, err := s.broker.JS.Stream(t.Context(), "SYNC_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	letter, err := stream.GetMsg(t.Context(), stays)
	if err != nil {
		t.Fatal(err)
	}
	s.extsync("push", "appointment_calendar", "k", "2", "--data", "{}", "--wait", "30s").ok(t)
	testkit.Eventually(t, "no letter", func() bool { return len(s.letters("--state", "any").Entries) == 0 })
	letter.Header.Del(nats.MsgIdHdr)
	if _, err := s.broker.JS.PublishMsg(t.Context(), &nats.Msg{Subject: letter.Subject, Header: letter.Header, Data: letter.Data}); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "a resolved letter", func() bool { return len(s.letters("--state", "resolved").Entries) == 1 })
	if e := s.extsync("doctor").run(t); e.code != cli.ExitFound || !strings.Contains(e.out, "1 are resolved") || !strings.Contains(e.out, "doctor --fix") {
		t.Errorf("before: %+v", e)
	}
	var doc struct {
		Findings []struct {
			Check string
			Fixed bool
		}
	}
	s.extsync("doctor", "--fix", "--json").decode(t, &doc)
	fixed := 0
	for _, f := range doc.Findings {
		if f.Fixed {
			fixed++
		}
	}
	if fixed != 1 || len(s.letters("--state", "any").Entries) != 0 {
		t.Errorf("fixed %d: %+v", fixed, doc)
	}
	if out := s.extsync("doctor").ok(t); !strings.Contains(out, "none is left that is resolved") {
		t.Errorf("after:\n%s", out)
	}
}
