package connhttp

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// A table says what each status means. It is immutable.
type table struct {
	status map[int]connectors.Class // of one status
	family map[int]connectors.Class // of the hundred it belongs to
	pause  bool                     // 410 to an upsert pauses the channel
}

// newTable returns the table of a channel. The error names every bad entry.
func newTable(statuses map[string]string, onGone string) (table, error) {
	t := table{status: map[int]connectors.Class{}, family: map[int]connectors.Class{}, pause: onGone == gonePause}
	var bad []string
	for _, text := range slices.Sorted(maps.Keys(statuses)) {
		class, ok := settableClass(statuses[text])
		if !ok {
			bad = append(bad, fmt.Sprintf("%s: %q is none of ok, transient, throttled, permanent, conflict, misconfigured, unready", text, statuses[text]))
			continue
		}
		if digit, found := strings.CutSuffix(text, "xx"); found && len(digit) == 1 && digit[0] >= '2' && digit[0] <= '5' {
			t.family[int(digit[0]-'0')] = class
			continue
		}
		code, err := strconv.Atoi(text)
		if err != nil || code < 200 || code > 599 || len(text) != 3 {
			bad = append(bad, fmt.Sprintf("%q is neither a status in 200..599 nor one of 2xx to 5xx", text))
			continue
		}
		t.status[code] = class
	}
	if len(bad) > 0 {
		return table{}, fmt.Errorf("%s", strings.Join(bad, "; "))
	}
	return t, nil
}

// settableClass returns the class of a name. Stale is not for a configuration to
// say: it needs the version that the target holds.
func settableClass(name string) (connectors.Class, bool) {
	for _, c := range []connectors.Class{
		connectors.OK, connectors.Transient, connectors.Throttled, connectors.Permanent, connectors.Conflict, connectors.Misconfigured,
		connectors.Unready,
	} {
		if c.String() == name {
			return c, true
		}
	}
	return 0, false
}

// classify returns the class of a status. asked says that the target asked for
// time by Retry-After.
func (t table) classify(status int, op events.Op, asked bool) connectors.Class {
	if op == events.Delete && (status == http.StatusNotFound || status == http.StatusGone) {
		return connectors.OK // what it asks for is so, whatever these mean for an upsert
	}
	if c, ok := t.status[status]; ok {
		return c
	}
	if c, ok := t.family[status/100]; ok {
		return c
	}
	switch {
	case status == http.StatusGone && t.pause:
		return connectors.Misconfigured
	case status == http.StatusServiceUnavailable && asked:
		return connectors.Throttled
	default:
		return meaningOf(status)
	}
}
