package connhttp

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
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
		g, err := newGuard(nil)
		if err != nil {
			t.Fatal(err)
		}
		err = g.check(netip.MustParseAddr(c.address))
		var denied *addressError
		if (err == nil) != c.allowed || err != nil && !errors.As(err, &denied) {
			t.Errorf("%s: %v, want allowed %v", c.address, err, c.allowed)
		}
	}
}

func TestGuardAllows(t *testing.T) {
	g, err := newGuard([]string{"10.20.0.0/16", "fd12::/16"})
	if err != nil {
		t.Fatal(err)
	}
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

// TestNameResolvesToSomethingElse: the address that is dialled is the one that
// was checked, at every dial, however the name's addresses change.
func TestNameResolvesToSomethingElse(t *testing.T) {
	dns := newNameServer(t)
	var reached sync.Map
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		reached.Store(netip.MustParseAddrPort(local.String()).Addr().Unmap(), true)
		w.Header().Set("Connection", "close") // so that the next call resolves again
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := openTest(t, Config{
		URL: connectors.Ref("http://target.example:" + port + "/"), AllowCIDRs: []string{"127.0.0.2/32"},
	}, deps{now: time.Now, resolver: dns.resolver()})

	good, evil := [4]byte{127, 0, 0, 2}, [4]byte{127, 0, 0, 1}
	dns.answer(good)
	wantResult(t, applyOne(t, c), connectors.OK, "200")
	dns.answer(evil)
	res := applyOne(t, c)
	wantResult(t, res, connectors.Misconfigured, "address_denied")
	if !strings.Contains(res.Err.Error(), "allow_cidrs") {
		t.Errorf("the error does not say what to do: %v", res.Err)
	}
	dns.answer(evil, good) // the allowed one of several is used
	wantResult(t, applyOne(t, c), connectors.OK, "200")
	dns.answer()
	wantResult(t, applyOne(t, c), connectors.Transient, "dns")

	if _, there := reached.Load(netip.AddrFrom4(evil)); there {
		t.Error("the address that is not allowed was reached")
	}
	if _, there := reached.Load(netip.AddrFrom4(good)); !there {
		t.Error("the allowed address was not reached")
	}
}

// A nameServer answers every question for IPv4 addresses with the same ones.
type nameServer struct {
	conn    net.PacketConn
	answers atomic.Pointer[[][4]byte]
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn}
	s.answer()
	t.Cleanup(func() { _ = conn.Close() })
	go s.serve()
	return s
}

func (s *nameServer) answer(addresses ...[4]byte) { s.answers.Store(&addresses) }

func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp4", s.conn.LocalAddr().String())
	}}
}

func (s *nameServer) serve() {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		if reply := s.reply(buf[:n]); reply != nil {
			_, _ = s.conn.WriteTo(reply, from)
		}
	}
}

// reply answers one question (RFC 1035, section 4): the header and the question
// come back, followed by the records.
func (s *nameServer) reply(query []byte) []byte {
	const headerLen = 12
	end := headerLen
	for end < len(query) && query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 1 + 4 // the root label, type and class
	if end > len(query) {
		return nil
	}
	kind := binary.BigEndian.Uint16(query[end-4:])
	reply := append([]byte{}, query[:end]...)
	reply[2], reply[3] = 0x84, 0 // an authoritative answer
	records := *s.answers.Load()
	if kind != 1 {
		records = nil // only IPv4
	}
	if len(*s.answers.Load()) == 0 {
		reply[3] = 3 // no such name
	}
	for i, count := range []int{1, len(records), 0, 0} {
		binary.BigEndian.PutUint16(reply[4+2*i:], uint16(count))
	}
	for _, address := range records {
		reply = append(reply, 0xc0, headerLen, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		reply = append(reply, address[:]...)
	}
	return reply
}
