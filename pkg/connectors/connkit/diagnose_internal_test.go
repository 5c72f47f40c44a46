package connkit

import (
	"crypto/tls"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

func TestAlertClass(t *testing.T) {
	for alert, want := range map[tls.AlertError]connectors.Class{
		42: connectors.Misconfigured, 48: connectors.Misconfigured, 116: connectors.Misconfigured,
		40: connectors.Misconfigured, 10: connectors.Transient, 80: connectors.Transient, 255: connectors.Transient,
	} {
		if got := alertClass(alert); got != want {
			t.Errorf("alert %d: %s, want %s", alert, got, want)
		}
	}
}
