package operate

import (
	"slices"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// Host returns this process as channels may use it. What it has for itself is never
// theirs: whoever may configure a channel could have it sent to a target, and would be a
// worker then.
func Host(cfg *config.Config) connectors.Host {
	own := []string{
		cfg.File, cfg.AdminKey, cfg.NATS.CredsFile, cfg.NATS.NKeySeedFile, cfg.NATS.TLS.KeyFile, cfg.HTTP.KeyFile,
	}
	return connectors.Host{
		Allow: cfg.Allow,
		Own:   slices.DeleteFunc(own, func(name string) bool { return name == "" }),
	}
}
