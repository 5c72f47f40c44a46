package connhttp

import (
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

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
	c := openResolving(t, testEnv().Timeout, Config{
		URL: connectors.Ref("http://target.example:" + port + "/"), AllowCIDRs: []string{"127.0.0.2/32"},
	}, dns.resolver())

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
