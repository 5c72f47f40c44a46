package connplugin

import (
	"context"
	"encoding/json"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A Hello is what a plugin says of itself.
type Hello struct {
	Kind         string          `json:"kind,omitempty"`
	Capabilities Capabilities    `json:"capabilities"`
	Concurrency  int             `json:"concurrency"`
	Schema       json.RawMessage `json:"schema,omitempty"`
}

// Ask opens a plugin with a configuration, closes it, and returns what it said of itself.
func Ask(ctx context.Context, env connectors.Env, config []byte) (Hello, error) {
	conn, err := open(ctx, env, config)
	if err != nil {
		return Hello{}, err
	}
	c := conn.(*connector) // open makes nothing else
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	if err := c.Ready(ctx); err != nil {
		return Hello{}, env.Scrubber().Error(err)
	}
	a := c.Said()
	return Hello{Kind: a.Kind, Capabilities: a.Capabilities, Concurrency: max(1, a.Concurrency), Schema: a.Schema}, nil
}
