package channels

import (
	"encoding/json"
	"hash/fnv"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// configure gives the entry a configuration.
func (e *Entry) configure(c Config, content wire.ContentID, now time.Time) {
	if e.Content != 0 && e.Content != content {
		e.Remade = now.UTC().Truncate(time.Second)
	}
	e.Config, e.Content = c, content
}

// contentOf returns the id of what a configuration makes of an update. It is the same for
// two configurations that differ in nothing but how fast, how often and by which way the
// target is reached.
func contentOf(c Config, catalog *connectors.Catalog) wire.ContentID {
	var config map[string]json.RawMessage
	if json.Unmarshal(c.Connector.Config, &config) != nil {
		config = map[string]json.RawMessage{"": json.RawMessage(c.Connector.Config)}
	}
	if kind, err := catalog.Kind(c.Connector.Kind); err == nil {
		for name := range config {
			if slices.Contains(kind.Access, name) {
				delete(config, name)
			}
		}
	}
	data, err := json.Marshal([]any{c.Filter, c.OnUnmatch, c.Mapping, c.Render, c.Connector.Kind, config})
	if err != nil { // it is no JSON, and no kind takes it
		data = c.Connector.Config
	}
	h := fnv.New32a()
	_, _ = h.Write(data) // a hash never fails to write
	return wire.ContentID(max(h.Sum32(), 1))
}
