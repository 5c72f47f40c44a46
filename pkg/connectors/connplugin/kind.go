package connplugin

import (
	"context"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connproto"
)

// KindName is the name of the kind in configurations.
const KindName = "plugin"

// Kind returns the connector kind "plugin".
func Kind() connectors.Kind {
	return connectors.Kind{
		Name:    KindName,
		Summary: "a program in any language, started by the worker or reached by HTTP",
		Capabilities: connectors.Capabilities{
			Guard: connectors.GuardAtomic, KeepsDigest: true, KeepsTombstone: true,
			Probes: true, Reads: true, Lists: true, Batches: true, Remembers: true,
		},
		Configured: func(config []byte) connectors.Capabilities {
			c, err := Decode(config)
			if err != nil {
				return connectors.Capabilities{Guard: connectors.GuardNone}
			}
			return c.Capabilities.Of(c.MaxBatch)
		},
		Config: Config{},
		Access: []string{"headers", "tls", "allow_cidrs", "max_batch", "kill_after", "capabilities"},
		Check: func(config []byte) error {
			_, err := Decode(config)
			return err
		},
		Open: open,
	}
}

func open(_ context.Context, env connectors.Env, data []byte) (connectors.Connector, error) {
	cfg, err := Decode(data)
	if err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	s := connkit.NewSecrets(env)
	c := &connector{Connector: connproto.New(env, cfg.Capabilities, cfg.MaxBatch), cfg: cfg}
	c.config, _ = resolve(s, "config", cfg.Config).(map[string]any)
	if c.config == nil {
		c.config = map[string]any{}
	}
	var link connproto.Link = connproto.Nowhere{}
	switch {
	case env.Previews():
	case cfg.Via == viaHTTP:
		link, err = newHTTP(c, s)
	default:
		if err = s.Err(); err == nil {
			link, err = newProgram(c)
		}
	}
	if err != nil {
		return nil, err
	}
	c.Use(link)
	return c, nil
}

// connector is safe for concurrent use.
type connector struct {
	*connproto.Connector
	cfg    Config
	config map[string]any // the plugin's own, with the values of secrets
}

// shake says hello and opens a session. It returns how many requests the plugin takes at
// once.
func (c *connector) shake(ctx context.Context, ask connproto.Asker) (concurrency int, err error) {
	concurrency, err = c.Greet(ctx, ask)
	if err != nil {
		return 0, err
	}
	return concurrency, c.Open(ctx, ask, c.config)
}

// resolve returns a value of the plugin's configuration with the references in its texts
// resolved.
func resolve(s *connkit.Secrets, path string, v any) any {
	switch v := v.(type) {
	case string:
		return s.Text(path, connectors.Ref(v))
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = resolve(s, path, e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, e := range v {
			out[name] = resolve(s, path+"."+name, e)
		}
		return out
	default:
		return v
	}
}
