package connectortest

import (
	"maps"
	"os"
	"slices"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Host is a process in which a test opens connectors: they may use these variables as
// secrets, reach loopback, and keep files below the system's temporary directory.
func Host(secrets map[string]string) connectors.Host {
	return connectors.Host{
		Allow: connectors.Allow{Grant: connectors.Grant{
			Env: slices.Sorted(maps.Keys(secrets)), Files: connectors.List{os.TempDir()},
			Networks: connectors.List{"127.0.0.0/8", "::1/128"}, Databases: connectors.List{os.TempDir()},
		}},
		LookupEnv: func(name string) (string, bool) {
			value, ok := secrets[name]
			return value, ok
		},
	}
}

// Env is what a connector of the suite is opened with, in such a process.
func Env(secrets map[string]string) connectors.Env {
	env := Host(secrets).Env(Channel)
	env.Concurrency, env.Timeout = Concurrency, Timeout
	return env
}
