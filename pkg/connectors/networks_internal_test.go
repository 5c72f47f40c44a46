package connectors

import (
	"errors"
	"net/netip"
	"testing"
)

func TestGuard(t *testing.T) {
	for _, c := range []struct {
		address string
		allowed bool
	}{
		{"93.184.216.34", true},
		{"2606:2800:220:1::1", true},
		{"64:ff9b::5db8:d822", true}, // NAT64 to a public address
		{"2002:5db8:d822::1", true},  // 6to4 of a public address
		{"0.0.0.0", false},
		{"0.1.2.3", false},
		{"10.1.2.3", false},
		{"100.64.0.1", false},
		{"100.100.100.200", false},
		{"127.0.0.1", false},
		{"127.255.255.254", false},
		{"168.63.129.16", false},
		{"169.254.169.254", false},
		{"172.16.0.1", false},
		{"172.31.255.255", false},
		{"172.32.0.0", true},
		{"192.0.0.192", false},
		{"192.168.0.1", false},
		{"198.18.0.1", false},
		{"224.0.0.1", false},
		{"255.255.255.255", false},
		{"::", false},
		{"::1", false},
		{"::127.0.0.1", false},         // IPv4-compatible
		{"::ffff:127.0.0.1", false},    // v4-mapped
		{"::ffff:93.184.216.34", true}, // v4-mapped, public
		{"64:ff9b::7f00:1", false},     // NAT64 to loopback
		{"64:ff9b::a9fe:a9fe", false},  // NAT64 to metadata
		{"64:ff9b:1::1", false},
		{"2002:7f00:1::1", false},                // 6to4 of loopback
		{"2002:a00:1::", false},                  // 6to4 of 10.0.0.1
		{"2001:0:1::1", false},                   // Teredo
		{"::ffff:0:127.0.0.1", false},            // SIIT
		{"::ffff:0:93.184.216.34", false},        // SIIT, public: nobody routes it
		{"2606:2800::5efe:7f00:1", false},        // ISATAP to loopback
		{"2606:2800::200:5efe:a9fe:a9fe", false}, // ISATAP to metadata
		{"2606:2800::5efe:5db8:d822", true},      // ISATAP to a public address
		{"fe80::5efe:5db8:d822", false},          // ISATAP on the link
		{"2002:5db8:d822::5efe:a00:1", false},    // 6to4 of a public address, ISATAP to 10.0.0.1
		{"2002:a00:1::5efe:5db8:d822", false},
		{"64:ff9b:2::1", false},
		{"1fff:ffff::1", false}, // just below 2000::/3
		{"2000::1", true},
		{"3ffe::1", true},
		{"4000::1", false}, // just above
		{"8000::1", false},
		{"fbff::1", false},
		{"fec0::1", false},
		{"5f00::1", false},
		{"2001:db8::1", false},
		{"fc00::1", false},
		{"fd00:ec2::254", false}, // metadata
		{"fe80::1%eth0", false},
		{"ff02::1", false},
	} {
		err := newGuard(nil).check(netip.MustParseAddr(c.address))
		var denied *AddressError
		if (err == nil) != c.allowed || err != nil && !errors.As(err, &denied) {
			t.Errorf("%s: %v, want allowed %v", c.address, err, c.allowed)
		}
	}
}

func TestGuardAllows(t *testing.T) {
	networks, err := parseNetworks([]string{"10.20.0.0/16", "fd12::/16"})
	if err != nil {
		t.Fatal(err)
	}
	g := newGuard(networks)
	for address, allowed := range map[string]bool{
		"10.20.3.4": true, "::ffff:10.20.3.4": true, "64:ff9b::a14:304": true, "fd12::1": true, "93.184.216.34": true,
		"10.21.0.1": false, "64:ff9b::a15:1": false, "fd13::1": false, "127.0.0.1": false,
	} {
		if err := g.check(netip.MustParseAddr(address)); (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed %v", address, err, allowed)
		}
	}
	for _, unreadable := range []string{"", "127.1:80", "example.org:80", "0x7f000001:80", "[::1%]:x"} {
		if err := g.control("tcp4", unreadable, nil); err == nil {
			t.Errorf("%q passed", unreadable)
		}
	}
	if err := g.control("unix", "93.184.216.34:80", nil); err == nil {
		t.Error("a socket that is not TCP passed")
	}
	if err := g.check(netip.Addr{}); err == nil {
		t.Error("no address passed")
	}
}
