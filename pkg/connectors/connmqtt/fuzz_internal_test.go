package connmqtt

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// stream is a connection on which some bytes come.
type stream struct {
	net.Conn
	in *bytes.Reader
}

func (s stream) Read(p []byte) (int, error) { return s.in.Read(p) }
func (stream) Write(p []byte) (int, error)  { return len(p), nil }
func (stream) Close() error                 { return nil }

// Whatever a broker sends, the library gets no packet that is larger, or another one, than
// what was asked for; and it ends.
func FuzzWire(f *testing.F) {
	for _, seed := range []string{
		"\x20\x03\x00\x00\x00", "\x20\x02\x00\x01", "\x20\xff\xff\xff\x7f", "\x20\xff\xff\xff\xff\x01", "\x40\x02\x00\x01\x40\x04\x00\x01\x87\x00",
		"\x20\x07\x00\x00\x04\x15\x00\x01x", "\xe0\x00", "\xe0\x02\x95\x00", "\xd0\x00", "\x32\x0b\x00\x01a\x00\x01\x05\x26\x00\x01k\x00\x00x", "\x90\x04\x00\x01\x00\x87", "\x40\x03\x00\x01",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, reads bool) {
		conn := stream{in: bytes.NewReader(data)}
		w := newWire(conn, conn, reads)
		for {
			p, err := packets.ReadPacket(w)
			if err != nil {
				return
			}
			if w.takes&(1<<p.Type) == 0 {
				t.Fatalf("the library got a packet of type %d", p.Type)
			}
			if m, ok := p.Content.(*packets.Publish); ok {
				held := heldOf(m.Properties.User, m.Payload)
				if held.IsZero() != (held == connectors.Held{}) {
					t.Fatalf("%+v is held in part", held)
				}
			}
		}
	})
}

// The topic of a key is no other key's and one level, and what a message says of the key is
// carried by MQTT and is no other key's.
func FuzzKeys(f *testing.F) {
	for _, seed := range []string{"P-7", "a/b", "a+", "#", "%2F", "\x00", "\x1f", "日本", "\ufffe", "\xff", strings.Repeat("k", 1024)} {
		f.Add(seed, seed+"/")
	}
	c := Config{Topic: "a/{key}/b"}
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == "" || b == "" || len(a) > 1024 || len(b) > 1024 {
			return
		}
		x, y := c.topicOf(a), c.topicOf(b)
		if (a == b) != (x == y) || strings.Count(x, "/") != 2 || strings.ContainsAny(x, "+#") || !carried(x) || len(x) > connkit.MostKeyName+4 {
			t.Errorf("%q has the topic %q, %q has %q", a, x, b, y)
		}
		if p, q := escape(a), escape(b); (a == b) != (p == q) || !carried(p) {
			t.Errorf("%q is said as %q, %q as %q", a, p, b, q)
		}
	})
}

// A packet is refused exactly when the library would write more than the broker takes.
func TestTooLarge(t *testing.T) {
	c := Config{Topic: "p/{key}", OnDelete: tombstoneOnDelete}
	for _, payload := range []int{1, 100, 127, 128, 200, 16000, 16383, 16384, 70000, 2097151, 2097152} {
		a := connectors.Attempt{}
		a.Key, a.Op, a.Payload, a.ContentType, a.ID = "k", "upsert", bytes.Repeat([]byte("x"), payload), jsonType, strings.Repeat("i", 90)
		m, bad := c.message(&a)
		if bad != nil {
			t.Fatal(bad)
		}
		m.PacketID = 1
		var out bytes.Buffer
		if _, err := m.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		size := uint32(out.Len()) //nolint:gosec // some bytes
		for d := uint32(0); d < 12; d++ {
			if tooLarge(m, size+d) || !tooLarge(m, size-1-d) {
				t.Errorf("a packet of %d bytes, against %d and %d: %v, %v", size, size+d, size-1-d, tooLarge(m, size+d), tooLarge(m, size-1-d))
			}
		}
	}
}
