package brokerconfig_test

import (
	"slices"
	"testing"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/brokerconfig"
	"github.com/hms-utl/extsync/pkg/events"
)

// Two imports that match one message take it twice, and an update was stored twice. Of two
// exports that match one request it is chance which says how many answers it has. An import
// that nobody exports is only silence.
func TestAccountsFitTogether(t *testing.T) {
	o := brokerconfig.Options{Scope: brokerconfig.Scope{
		Names: events.DefaultNames(), Channels: []string{"portal", "erp", "erp_db"}, Services: []string{"billing", "crm"},
		Groups: []brokerconfig.Group{{Name: "portal", Channels: []string{"portal"}}, {Name: "erp", Channels: []string{"erp", "erp_db"}, Services: []string{"crm"}}},
	}}
	accounts := map[string]brokerconfig.Account{}
	for _, a := range o.Accounts() {
		accounts[a.Name] = a
	}
	if len(accounts) != len(o.Roles()) {
		t.Errorf("%d accounts", len(accounts))
	}
	for name, a := range accounts {
		if a.JetStream != (name == brokerconfig.Admin.Account()) {
			t.Errorf("%s has JetStream: %v", name, a.JetStream)
		}
		for i, x := range a.Imports {
			for _, y := range a.Imports[:i] {
				if x.Service == y.Service && broker.Overlap(x.Subject, y.Subject) {
					t.Errorf("%s imports %s and %s", name, x.Subject, y.Subject)
				}
			}
			if !slices.ContainsFunc(accounts[x.From].Exports, func(e brokerconfig.Export) bool {
				return e.Service == x.Service && broker.Within(x.Subject, e.Subject) && slices.Contains(e.To, name)
			}) {
				t.Errorf("%s imports %s, which %s does not export to it", name, x.Subject, x.From)
			}
		}
		for i, x := range a.Exports {
			for _, y := range a.Exports[:i] {
				if x.Service == y.Service && broker.Overlap(x.Subject, y.Subject) {
					t.Errorf("%s exports %s and %s", name, x.Subject, y.Subject)
				}
			}
		}
	}
	for _, r := range []brokerconfig.Role{brokerconfig.Publisher, brokerconfig.Gateway, "publisher-portal", "publisher-erp"} {
		for _, i := range accounts[r.Account()].Imports {
			if broker.Overlap(i.Subject, "$JS.API.CONSUMER.CREATE.>") || broker.Overlap(i.Subject, "$JS.API.CONSUMER.DURABLE.CREATE.>") {
				t.Errorf("%s may make consumers: %s", r, i.Subject)
			}
		}
	}
}
