package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// fetches: people are shown what the target holds, whole, beside what would be written.
func fetches(r *run) {
	c := r.open()
	if !c.Can().Fetches {
		r.NotApplicable("the connector is not declared to show contents")
		return
	}
	key := r.prefix + "k"
	first, second, gone := r.upsert(key, number(1), "first"), r.upsert(key, number(2), "second"), r.remove(key, number(3))

	f := r.fetch(c, first)
	if f.There || f.Held != (connectors.Held{}) {
		r.Errorf("Fetch says %+v of a key that is not there", f.Held)
	}
	r.wantShown("a key that is not there", f, &first, nil)

	r.wantOK("first", r.apply(c, first))
	f = r.fetch(c, first)
	r.wantFetched(f, first)
	r.wantShown("what was written", f, &first, &first)
	f = r.fetch(c, second)
	r.wantFetched(f, first)
	r.wantShown("what is to be written next", f, &second, &first)

	r.wantOK("second", r.apply(c, second))
	f = r.fetch(c, second)
	r.wantFetched(f, second)
	r.wantShown("the second version", f, &second, &second)
	r.wantHeld(second) // nothing was written by looking

	r.wantOK("tombstone", r.apply(c, gone))
	f = r.fetch(c, gone)
	if c.Can().KeepsTombstone {
		r.wantSame("Fetch", f.Held, gone)
	} else if f.There || !f.IsZero() {
		r.Errorf("Fetch says %+v of a deleted key", f.Held)
	}
	r.wantShown("a tombstone", f, nil, nil)
	r.wantHeld(gone)

	r.fetchesLarge(c)
}

// fetchesLarge: what is shown is neither cut nor more than there is.
func (r *run) fetchesLarge(c *connectors.Opened) {
	r.Helper()
	if r.Payload != nil {
		r.NotApplicable("its payloads are short (Payload)")
		return
	}
	const size, more = 32 << 10, 1 << 10 // every kind shows that much
	large := attempt(events.Update{
		Channel: Channel, Key: r.prefix + "large", Version: number(1), Op: events.Upsert, Payload: r.payload(strings.Repeat("x", size)),
	})
	r.wantOK("large", r.apply(c, large))
	f := r.fetch(c, large)
	r.wantFetched(f, large)
	r.wantShown("a large content", f, &large, &large)
	shown := 0
	for _, p := range f.Parts {
		shown += len(p.Theirs)
	}
	if shown > size+more {
		r.Errorf("Fetch shows %d bytes of a content of %d", shown, len(large.Payload))
	}
}

func (r *run) fetch(c *connectors.Opened, a connectors.Attempt) connectors.Fetched {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), Timeout)
	defer cancel()
	f, err := c.Fetch(ctx, a)
	if err != nil {
		r.checkText("the error of Fetch", err.Error())
		r.Fatalf("Fetch: %v", err)
	}
	if f.Unwritable != "" {
		r.Errorf("Fetch says that %.60q@%s cannot be written: %s", a.Key, a.Version, f.Unwritable)
	}
	for _, p := range f.Parts {
		r.checkText("what Fetch shows", string(p.Theirs))
		for _, side := range []json.RawMessage{p.Ours, p.Theirs} {
			if side != nil && !json.Valid(side) {
				r.Errorf("Fetch shows what is no JSON: %.200q", side)
			}
		}
	}
	return f
}

// wantFetched checks that Fetch says the version of an attempt that was written.
func (r *run) wantFetched(f connectors.Fetched, a connectors.Attempt) {
	r.Helper()
	if !f.There {
		r.Errorf("%.60q@%s: Fetch says that nothing is there", a.Key, a.Version)
	}
	r.wantSame("Fetch", f.Held, a)
}

func (r *run) wantSame(who string, held connectors.Held, a connectors.Attempt) {
	r.Helper()
	if held.Version != a.Version || held.Op != a.Op || r.KeepsDigest && held.Digest != a.Digest {
		r.Errorf("%s says %+v of %.60q, want %s %s", who, held, a.Key, a.Op, a.Version)
	}
}

// wantShown checks the contents of each side; nil stands for none.
func (r *run) wantShown(what string, f connectors.Fetched, ours, theirs *connectors.Attempt) {
	r.Helper()
	for side, want := range map[string]*connectors.Attempt{"Ours": ours, "Theirs": theirs} {
		shown := false
		for _, p := range f.Parts {
			value := p.Ours
			if side == "Theirs" {
				value = p.Theirs
			}
			if want == nil && !isNothing(value) {
				r.Errorf("%s: %s of %q is %.200q, want nothing", what, side, p.Name, value)
			}
			shown = shown || want != nil && sameJSON(value, connectors.JSONOf(want.Payload))
		}
		if want != nil && !shown {
			r.Errorf("%s: no part has the content as %s: %.500v", what, side, f.Parts)
		}
	}
	if ours == nil || theirs == nil {
		return
	}
	differs := false
	for _, p := range f.Parts {
		differs = differs || p.Differs || !sameJSON(p.Ours, p.Theirs)
	}
	if differs != (ours.Version != theirs.Version) {
		r.Errorf("%s: Fetch says differs %v", what, differs)
	}
}

func isNothing(value json.RawMessage) bool { return value == nil || bytes.Equal(value, []byte("null")) }

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return len(a) == 0 && len(b) == 0
	}
	return reflect.DeepEqual(x, y)
}
