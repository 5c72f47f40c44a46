package connectors

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// A Dialer makes connections, only to public addresses and to the networks that it was
// made for. It is safe for concurrent use.
type Dialer struct {
	// Timeout bounds one connection; 0: only its context does.
	Timeout time.Duration

	env   Env
	guard *guard
}

// Dialer returns a dialer for public addresses and these networks, which must be within
// those that the operator allows the channel. The error is an *Error of class
// Misconfigured.
func (e Env) Dialer(networks []string) (*Dialer, error) {
	chosen, err := parseNetworks(networks)
	if err != nil {
		return nil, misconfigured("config", fmt.Errorf("%w: allow_cidrs: %w", ErrConfig, err))
	}
	granted, err := parseNetworks(e.grant.Networks)
	if err != nil { // which Host.Validate has said
		return nil, misconfigured("config", fmt.Errorf("%w: allow.networks: %w", ErrConfig, err))
	}
	var beyond []string
	for _, n := range chosen {
		if !e.Previews() && !covered(n, granted) {
			beyond = append(beyond, n.String())
		}
	}
	if len(beyond) > 0 {
		return nil, misconfigured("address_denied", e.refused("network "+strings.Join(beyond, ", ")+" of allow_cidrs", "networks", e.grant.Networks))
	}
	return &Dialer{env: e, guard: newGuard(chosen)}, nil
}

// covered reports whether a network is in one of others.
func covered(n netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if o.Bits() <= n.Bits() && o.Contains(n.Addr()) {
			return true
		}
	}
	return false
}

// CheckNetworks says what is wrong with the networks of a configuration.
func CheckNetworks(networks []string) error {
	_, err := parseNetworks(networks)
	return err
}

// CheckHost returns an *AddressError if the host is an address, not a name, that a
// dialer for these networks would refuse at every call.
func CheckHost(host string, networks []string) error {
	allowed, err := parseNetworks(networks)
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil //nolint:nilerr // a name: the dialer looks at what it resolves to
	}
	return newGuard(allowed).check(addr)
}

// DialContext connects to host:port over TCP, or to a socket at a path, which must be in a
// directory that the operator allows for databases.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.env.Previews() {
		return nil, &AddressError{"nothing is connected to for a preview"}
	}
	if network == "unix" {
		path, err := d.env.DataPath(address)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{Timeout: d.Timeout}).DialContext(ctx, network, path)
	}
	dialer := net.Dialer{Timeout: d.Timeout, Control: d.guard.control, Resolver: d.env.host.Resolver}
	return dialer.DialContext(ctx, network, address)
}

// LookupHost resolves a name, for drivers that do so by themselves. What they dial then
// is looked at all the same.
func (d *Dialer) LookupHost(ctx context.Context, host string) ([]string, error) {
	resolver := d.env.host.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	return resolver.LookupHost(ctx, host)
}
