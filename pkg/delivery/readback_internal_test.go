package delivery

import (
	"encoding/json"
	"testing"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// What may be seen of a part is that of the part of its name, also where others are left out.
func TestPartsOfAReadBackAreMatchedByName(t *testing.T) {
	b := readBack{cfg: &channels.Config{Redact: []string{".ssn"}}}
	part := func(name, ours string) connectors.Part {
		return connectors.Part{Name: name, Ours: json.RawMessage(ours)}
	}
	got := b.parts([]connectors.Part{part("a", `"secret"`), part("b", `"x"`)}, []connectors.Part{part("b", `"x"`)})
	if got[0].Ours.Shown != nil || string(got[1].Ours.Shown) != `"x"` {
		t.Errorf("a %s, b %s", got[0].Ours.Shown, got[1].Ours.Shown)
	}
}
