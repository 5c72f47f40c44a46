package connectors

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
)

// An AddressError says that an address may not be connected to, and why.
type AddressError struct{ why string }

// Error names the address.
func (e *AddressError) Error() string { return "address is not allowed: " + e.why }

// notPublic are the networks that are no part of the public internet, by the
// special-purpose registries of IANA, and what clouds serve metadata from. One
// per line: the network, then what it is. The first that an address is in names it. The
// last lines are all of IPv6 but 2000::/3, of which alone addresses are given out.
const notPublic = `
0.0.0.0/8           unspecified
10.0.0.0/8          private
100.64.0.0/10       carrier-grade NAT
127.0.0.0/8         loopback
168.63.129.16/32    cloud metadata
169.254.0.0/16      link-local
172.16.0.0/12       private
192.0.0.0/24        protocol assignment
192.0.2.0/24        documentation
192.88.99.0/24      6to4 relay
192.168.0.0/16      private
198.18.0.0/15       benchmarking
198.51.100.0/24     documentation
203.0.113.0/24      documentation
224.0.0.0/4         multicast
240.0.0.0/4         reserved
::/96               unspecified
::ffff:0:0:0/96     IPv4-translated
64:ff9b:1::/48      local NAT64
100::/63            discard
2001::/32           Teredo
2001::/23           protocol assignment
2001:db8::/32       documentation
3fff::/20           documentation
5f00::/16           segment routing
fc00::/7            unique local
fe80::/10           link-local
fec0::/10           site-local
ff00::/8            multicast
::/3                not global unicast
4000::/2            not global unicast
8000::/1            not global unicast`

// A guard decides which addresses a connector may connect to. It looks at the
// address that is really dialled, after name resolution, so a name that resolves
// to something else the second time gains nothing. It is immutable.
type guard struct {
	denied  []network
	allowed []netip.Prefix
	// nat64 and sixToFour carry an IPv4 address at byte 12 and byte 2.
	nat64, sixToFour netip.Prefix
}

type network struct {
	netip.Prefix
	what string
}

// newGuard returns a guard that lets these networks pass besides the public ones.
func newGuard(allowed []netip.Prefix) *guard {
	g := &guard{allowed: allowed, nat64: netip.MustParsePrefix("64:ff9b::/96"), sixToFour: netip.MustParsePrefix("2002::/16")}
	for line := range strings.Lines(strings.TrimSpace(notPublic)) {
		cidr, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		g.denied = append(g.denied, network{netip.MustParsePrefix(cidr), strings.TrimSpace(what)})
	}
	return g
}

// control is called by net.Dialer with each address just before it connects.
func (g *guard) control(network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return &AddressError{"network " + network}
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &AddressError{"it cannot be read"}
	}
	return g.check(ap.Addr())
}

// check returns an *AddressError if the address, or an IPv4 address that it leads
// to, is in a network that is neither public nor allowed.
func (g *guard) check(addr netip.Addr) error {
	if !addr.IsValid() {
		return &AddressError{"it cannot be read"}
	}
	addr = addr.WithZone("").Unmap()
	if g.isAllowed(addr) {
		return nil
	}
	if !g.nat64.Contains(addr) { // else only what it leads to counts
		if err := g.refuse(addr); err != nil {
			return err
		}
	}
	for _, inner := range g.embedded(addr) {
		if err := g.refuse(inner); err != nil && !g.isAllowed(inner) {
			return err
		}
	}
	return nil
}

// refuse returns an *AddressError if the address is in a network that is not public.
func (g *guard) refuse(addr netip.Addr) error {
	for _, n := range g.denied {
		if n.Contains(addr) {
			return &AddressError{fmt.Sprintf("%s is %s; if the target is there, list its network in allow_cidrs, and the worker's operator in allow.networks", addr, n.what)}
		}
	}
	return nil
}

func (g *guard) isAllowed(addr netip.Addr) bool {
	for _, p := range g.allowed {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// embedded returns the IPv4 addresses that a NAT64 (RFC 6052), 6to4 (RFC 3056) or
// ISATAP (RFC 5214) address leads to. One can be several of these.
func (g *guard) embedded(addr netip.Addr) []netip.Addr {
	if !addr.Is6() {
		return nil
	}
	var inner []netip.Addr
	b := addr.As16()
	// The bit 0x02 says that the IPv4 address is unique in the world.
	isatap := b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
	if isatap || g.nat64.Contains(addr) {
		inner = append(inner, netip.AddrFrom4([4]byte(b[12:16])))
	}
	if g.sixToFour.Contains(addr) {
		inner = append(inner, netip.AddrFrom4([4]byte(b[2:6])))
	}
	return inner
}
