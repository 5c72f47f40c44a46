package events_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/events"
)

func TestRefsWith(t *testing.T) {
	held := events.Refs{"id": "7", "etag": `"a"`}
	got := held.With(events.Refs{"etag": `"b"`, "link": "/7"})
	if want := (events.Refs{"id": "7", "etag": `"b"`, "link": "/7"}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if held["etag"] != `"a"` {
		t.Error("the values that were held were changed")
	}
	if got := held.With(events.Refs{"id": "", "etag": ""}); got != nil {
		t.Errorf("all are forgotten, and %v is left", got)
	}
}

func TestRefsCheck(t *testing.T) {
	for name, r := range map[string]events.Refs{
		"too long":   {"id": strings.Repeat("x", events.MaxRefs-1)},
		"no name":    {"": "7"},
		"not a text": {"id": "\xff"},
	} {
		if err := r.Check(); !errors.Is(err, events.ErrRefs) {
			t.Errorf("%s: %v, want ErrRefs", name, err)
		}
	}
	if err := (events.Refs{"id": strings.Repeat("x", events.MaxRefs-2)}).Check(); err != nil {
		t.Error(err)
	}
}
