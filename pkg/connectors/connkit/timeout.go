package connkit

import (
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// defaultTimeout bounds a call in a program that names no timeout.
const defaultTimeout = 30 * time.Second

// TimeoutOf returns what bounds a call of a connector that is opened in env.
func TimeoutOf(env connectors.Env) time.Duration {
	if env.Timeout <= 0 {
		return defaultTimeout
	}
	return env.Timeout
}
