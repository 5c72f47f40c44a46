package config

import (
	"fmt"
	"net"
	"strconv"
)

// Telemetry says where a process can be looked at. Traces are not here: they
// follow the variables of OpenTelemetry (OTEL_*).
type Telemetry struct {
	// Listen is the address (host:port) of /metrics, /healthz and /readyz. There
	// is no access control: loopback, or a network of one's own. Defaults to none.
	Listen string `yaml:"listen"`
	// Pprof is the address of /debug/pprof/, which must be a loopback one.
	// Defaults to none.
	Pprof string `yaml:"pprof"`
}

func (t *Telemetry) check(bad func(path, format string, args ...any)) {
	if t.Listen != "" {
		if _, err := splitAddress(t.Listen); err != nil {
			bad("telemetry.listen", "%v", err)
		}
	}
	if t.Pprof == "" {
		return
	}
	host, err := splitAddress(t.Pprof)
	if err != nil {
		bad("telemetry.pprof", "%v", err)
	} else if host != "localhost" && !net.ParseIP(host).IsLoopback() {
		bad("telemetry.pprof", "%q is not a loopback address: profiles show what the process works on", t.Pprof)
	}
}

// splitAddress returns the host of host:port.
func splitAddress(address string) (host string, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%q has no port number in 0..65535", address)
	}
	return host, nil
}
