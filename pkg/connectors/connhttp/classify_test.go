package connhttp

import (
	"errors"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// TestEveryStatus names the class of every status there can be, for an upsert
// and for a tombstone, without and with Retry-After.
func TestEveryStatus(t *testing.T) {
	ranges := []struct {
		from, to int
		class    connectors.Class
	}{
		{100, 199, connectors.Transient}, // no final answer: unknown, so tried again
		{200, 299, connectors.OK},
		{300, 300, connectors.Permanent}, // never followed
		{301, 303, connectors.Unready},
		{304, 306, connectors.Permanent},
		{307, 308, connectors.Unready},
		{309, 400, connectors.Permanent},
		{401, 403, connectors.Misconfigured},
		{404, 404, connectors.Unready},
		{405, 407, connectors.Misconfigured},
		{408, 408, connectors.Transient},
		{409, 409, connectors.Unready},
		{410, 411, connectors.Permanent},
		{412, 412, connectors.Conflict},
		{413, 414, connectors.Permanent},
		{415, 415, connectors.Misconfigured},
		{416, 420, connectors.Permanent},
		{421, 421, connectors.Transient},
		{422, 422, connectors.Permanent},
		{423, 424, connectors.Unready},
		{425, 425, connectors.Transient},
		{426, 426, connectors.Misconfigured},
		{427, 427, connectors.Permanent},
		{428, 428, connectors.Misconfigured},
		{429, 429, connectors.Throttled},
		{430, 499, connectors.Permanent},
		{500, 500, connectors.Transient},
		{501, 501, connectors.Misconfigured},
		{502, 504, connectors.Transient},
		{505, 506, connectors.Misconfigured},
		{507, 509, connectors.Transient},
		{510, 511, connectors.Misconfigured},
		{512, 599, connectors.Transient},
		{600, 999, connectors.Transient}, // net/http lets them pass
	}
	next := 100
	for _, r := range ranges {
		if r.from != next {
			t.Fatalf("status %d is in no range", next)
		}
		next = r.to + 1
		for status := r.from; status <= r.to; status++ {
			for _, op := range []events.Op{events.Upsert, events.Delete} {
				for _, asked := range []bool{false, true} {
					want := r.class
					if op == events.Delete && (status == 404 || status == 410) {
						want = connectors.OK // what the tombstone asks for is so
					}
					if asked && status == 503 {
						want = connectors.Throttled
					}
					if got := classOf(status, op, asked); got != want {
						t.Errorf("status %d, %s, Retry-After %v: class %s, want %s", status, op, asked, got, want)
					}
				}
			}
		}
	}
}

// TestErrorsAreClassed: what New refuses can be told by class and by sentinel.
func TestErrorsAreClassed(t *testing.T) {
	_, err := New(t.Context(), testEnv(), Config{})
	var e *connectors.Error
	if !errors.As(err, &e) || e.Class != connectors.Misconfigured || !errors.Is(err, connectors.ErrConfig) {
		t.Errorf("New of nothing: %v", err)
	}
	_, err = New(t.Context(), testEnv(), Config{URL: "https://example.org/", Auth: Auth{Bearer: "${env:UNSET}"}})
	if connectors.ClassOf(err) != connectors.Misconfigured || !errors.Is(err, connectors.ErrSecret) {
		t.Errorf("New with a missing secret: %v", err)
	}
}
