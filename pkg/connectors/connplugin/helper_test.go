package connplugin_test

import (
	"fmt"
	"testing"

	"github.com/hms-utl/extsync/examples/connector/jsonfile"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

// A reader reads what the plugin has written, without the plugin.
type reader struct{ dir string }

func (r *reader) read(t *testing.T, keys ...string) map[string]connectors.Held {
	t.Helper()
	c, err := connectors.Open(t.Context(), jsonfile.Kind(), connectortest.Env(nil), fmt.Appendf(nil, "directory: %q", r.dir))
	if err != nil {
		t.Error(err)
		return nil
	}
	held, err := c.Read(t.Context(), keys)
	if err != nil {
		t.Error(err)
	}
	out := map[string]connectors.Held{}
	for i, h := range held {
		if !h.IsZero() {
			out[keys[i]] = h
		}
	}
	return out
}
