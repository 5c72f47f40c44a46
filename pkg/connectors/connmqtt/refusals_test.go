package connmqtt_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connmqtt"
)

const (
	ok     = connectors.OK
	act    = connectors.Misconfigured
	passes = connectors.Transient
	waits  = connectors.Throttled
	never  = connectors.Permanent
)

// What each refusal of a real broker becomes, of an update and of a probe.
func TestRefusals(t *testing.T) {
	s := testdb.StartMosquitto(t)
	noRetain, noQoS := testdb.StartMosquitto(t, "retain_available false"), testdb.StartMosquitto(t, "max_qos 0")
	for _, c := range []struct {
		name, config string
		class        connectors.Class
		code         string
		probe        connectors.Class
	}{
		{"all is well", config(s.Addr(), s.User, ""), ok, "", ok},
		{"no such user", config(s.Addr(), "nobody", ""), act, "0x87", act},
		{"nobody", strings.Replace(strings.Replace(config(s.Addr(), "", ""), "user: \n", "", 1), "password: ${env:CHANNEL_PASSWORD}\n", "", 1), act, "0x87", act},
		{"no right to publish", config(s.Addr(), testdb.MosquittoLimited, ""), act, "0x87", ok},
		{"a right to publish", strings.Replace(config(s.Addr(), testdb.MosquittoLimited, ""), "p/{key}", "limited/{key}", 1), ok, "", ok},
		{"no retained messages", config(noRetain.Addr(), s.User, ""), act, "retain", act},
		{"no QoS 1", config(noQoS.Addr(), s.User, ""), act, "qos", act},
		{"TLS where none is", strings.Replace(config(s.Addr(), s.User, ""), "scheme: mqtt", "scheme: mqtts", 1), passes, "closed", passes},
		{"no TLS where it is", config(s.SecureAddr, s.User, ""), passes, "closed", passes},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := connect(t, secrets(s), c.config)
			for n := range 2 { // the second one meets what the first one has left
				res := apply(t, conn, attempt("k", int64(n)+1, "{}"))[0]
				if c.code == "closed" { // or reset, as it comes
					c.code = res.Code
				}
				want(t, res, c.class, c.code)
				if err := conn.Probe(t.Context()); (err == nil) != (c.probe == ok) || err != nil && connectors.ClassOf(err) != c.probe {
					t.Errorf("the probe says %v, want %s", err, c.probe)
				}
			}
		})
	}
	t.Run("wrong password", func(t *testing.T) {
		conn := connect(t, map[string]string{"CHANNEL_PASSWORD": "hunter2-and-more"}, config(s.Addr(), s.User, ""))
		res := apply(t, conn, attempt("k", 1, "{}"))[0]
		if want(t, res, act, "0x87"); strings.Contains(fmt.Sprint(res), "hunter2") {
			t.Errorf("%v, %q", res.Err, res.Response)
		}
	})
	t.Run("one key of a batch", func(t *testing.T) {
		conn := connect(t, secrets(s), strings.Replace(config(s.Addr(), testdb.MosquittoLimited, ""), "p/{key}", "{key}/x", 1))
		results := apply(t, conn, attempt("limited", 1, "{}"), attempt("other", 1, "{}"), attempt("limited", 2, "{}"))
		want(t, results[0], ok, "")
		want(t, results[1], act, "0x87")
		want(t, results[2], ok, "")
	})
}

func TestTLS(t *testing.T) {
	s := testdb.StartMosquitto(t)
	ca, err := os.ReadFile(s.CAFile())
	testkit.Must(t, err)
	cert, key := s.ClientKeyPair(t)
	env := map[string]string{"CHANNEL_PASSWORD": s.Password, "CHANNEL_CA": string(ca), "CHANNEL_CERT": cert, "CHANNEL_KEY": key}
	secure := func(addr, tls string) string {
		return strings.Replace(config(addr, s.User, "tls: {"+tls+"}\n"), "scheme: mqtt", "scheme: mqtts", 1)
	}
	const trusted = "ca: '${env:CHANNEL_CA}'"
	for _, c := range []struct {
		name, config string
		class        connectors.Class
		code         string
	}{
		{"its authority", secure(s.SecureAddr, trusted), ok, ""},
		{"another authority", secure(s.SecureAddr, ""), act, connkit.CodeTLSVerify},
		{"another name", secure(s.SecureAddr, trusted+", server_name: other.example"), act, connkit.CodeTLSVerify},
		{"a certificate", secure(s.CertifiedAddr, trusted+", cert: '${env:CHANNEL_CERT}', key: '${env:CHANNEL_KEY}'"), ok, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			want(t, apply(t, connect(t, env, c.config), attempt("k", 1, "{}"))[0], c.class, c.code)
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		// In TLS 1.3 the refusal comes after the handshake, and may show as a reset.
		conn := connect(t, env, secure(s.CertifiedAddr, trusted))
		testkit.Eventually(t, "the alert is seen", func() bool {
			res := apply(t, conn, attempt("k", 1, "{}"))[0]
			return res.Class == act && res.Code == connkit.CodeTLSAlert
		})
	})
}

func TestNobodyThere(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	testkit.Must(t, l.Close())
	conn := connect(t, map[string]string{"CHANNEL_PASSWORD": "x"}, config(l.Addr().String(), "u", ""))
	res := apply(t, conn, attempt("k", 1, "{}"))[0]
	if want(t, res, passes, connectors.CodeRefused); !res.NobodyThere() {
		t.Error("somebody is there")
	}
}

// The operator decides which networks there are.
func TestNetworkIsNotAllowed(t *testing.T) {
	_, err := connmqtt.Kind().Open(t.Context(), connectors.Host{
		Allow:     connectors.Allow{Grant: connectors.Grant{Env: connectors.List{"CHANNEL_PASSWORD"}}},
		LookupEnv: func(string) (string, bool) { return "x", true },
	}.Env("people"), []byte(config("127.0.0.1:1883", "u", "")))
	if connectors.ClassOf(err) != act {
		t.Errorf("%v", err)
	}
}

// fakeBroker answers each packet that a client sends by what answer says, by its type; it
// ends the connection after an answer that ends so.
func fakeBroker(t *testing.T, answer func(kind byte, packet []byte) (reply string, end bool)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close() // it only listens
		<-done
	})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() }) // whatever became of it
			go serveFake(conn, answer)
		}
	}()
	return l.Addr().String()
}

func serveFake(conn net.Conn, answer func(kind byte, packet []byte) (string, bool)) {
	defer conn.Close() //nolint:errcheck // whatever became of it
	in := bufio.NewReader(conn)
	for {
		kind, packet, err := readPacket(in)
		if err != nil {
			return
		}
		reply, end := answer(kind, packet)
		if _, err := conn.Write([]byte(reply)); err != nil || end {
			return
		}
	}
}

// readPacket returns the type of a packet, and what is behind its head.
func readPacket(in *bufio.Reader) (kind byte, packet []byte, err error) {
	first, err := in.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	size := 0
	for shift := 0; ; shift += 7 {
		b, err := in.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		if size |= int(b&0x7f) << shift; b < 0x80 {
			break
		}
	}
	packet = make([]byte, size)
	_, err = io.ReadFull(in, packet)
	return first >> 4, packet, err
}

const (
	connack = "\x20\x03\x00\x00\x00"
	// The types of packets.
	connectPacket, publishPacket, subscribePacket = 1, 3, 8
)

// idOf returns the packet id of a PUBLISH.
func idOf(packet []byte) string {
	topic := int(packet[0])<<8 | int(packet[1])
	return string(packet[2+topic : 4+topic])
}

// What each reason code becomes, that refuses the connection, acknowledges a message, or ends
// the connection.
func TestReasonCodes(t *testing.T) {
	for _, c := range []struct {
		packet string
		code   byte
		class  connectors.Class
		shown  string
	}{
		{"connack", 0x81, act, "connect"},
		{"connack", 0x84, act, "0x84"},
		{"connack", 0x85, act, "0x85"},
		{"connack", 0x86, act, "0x86"},
		{"connack", 0x88, passes, "0x88"},
		{"connack", 0x89, waits, "0x89"},
		{"connack", 0x8A, act, "0x8A"},
		{"connack", 0x95, act, "connect"},
		{"connack", 0x97, waits, "0x97"},
		{"connack", 0x9C, passes, "0x9C"},
		{"connack", 0x9D, act, "0x9D"},
		{"connack", 0x9F, waits, "0x9F"},
		{"puback", 0x00, ok, ""},
		{"puback", 0x10, ok, ""},
		{"puback", 0x80, passes, "0x80"},
		{"puback", 0x83, passes, "0x83"},
		{"puback", 0x87, act, "0x87"},
		{"puback", 0x90, act, "0x90"},
		{"puback", 0x91, passes, "0x91"},
		{"puback", 0x97, waits, "0x97"},
		{"puback", 0x99, never, "0x99"},
		{"puback", 0xC0, passes, "reason"},
		{"disconnect", 0x81, passes, "0x81"},
		{"disconnect", 0x87, act, "0x87"},
		{"disconnect", 0x8B, passes, "0x8B"},
		{"disconnect", 0x8E, passes, "0x8E"},
		{"disconnect", 0x95, never, "0x95"},
		{"disconnect", 0x96, waits, "0x96"},
		{"disconnect", 0x98, passes, "0x98"},
		{"disconnect", 0x9A, act, "0x9A"},
		{"disconnect", 0x9B, act, "0x9B"},
	} {
		t.Run(fmt.Sprintf("%s %02x", c.packet, c.code), func(t *testing.T) {
			code := string([]byte{c.code})
			const reason = "\x1f\x00\x03no!" // a property
			addr := fakeBroker(t, func(kind byte, packet []byte) (string, bool) {
				switch {
				case kind == connectPacket && c.packet == "connack":
					return "\x20\x09\x00" + code + "\x06" + reason, true
				case kind == connectPacket:
					return connack, false
				case kind == publishPacket && c.packet == "puback":
					return "\x40\x0a" + idOf(packet) + code + "\x06" + reason, false
				case kind == publishPacket:
					return "\xe0\x08" + code + "\x06" + reason, true
				default:
					return "", false
				}
			})
			res := apply(t, connect(t, map[string]string{"CHANNEL_PASSWORD": "x"}, config(addr, "u", "")), attempt("k", 1, "{}"))[0]
			if want(t, res, c.class, c.shown); c.class != ok && res.Response != "no!" {
				t.Errorf("the response is %q", res.Response)
			}
		})
	}
}

// A broker that ends the connection for one message fails that one, and takes the others.
func TestOneMessageEndsTheConnection(t *testing.T) {
	addr := fakeBroker(t, func(kind byte, packet []byte) (string, bool) {
		switch {
		case kind == connectPacket:
			return connack, false
		case kind == publishPacket && strings.Contains(string(packet), "p/bad"):
			return "\xe0\x02\x95\x00", true
		case kind == publishPacket:
			return "\x40\x02" + idOf(packet), false
		default:
			return "", false
		}
	})
	c := connect(t, map[string]string{"CHANNEL_PASSWORD": "x"}, config(addr, "u", ""))
	var batch []connectors.Attempt
	for i := range 40 {
		key := fmt.Sprintf("k%d", i)
		if i%10 == 3 {
			key = "bad" + key
		}
		batch = append(batch, attempt(key, 1, "{}"))
	}
	for i, res := range apply(t, c, batch...) {
		if i%10 == 3 {
			want(t, res, never, "0x95")
		} else {
			want(t, res, ok, "")
		}
	}
}

// What a stranger in the broker's place can send.
func TestHostileBroker(t *testing.T) {
	// Acknowledgements of messages that nobody has sent, with reasons of 60,000 bytes.
	endless := strings.Repeat("\x40\xe9\xd4\x03\x33\x33\x00\xe3\xd4\x03\x1f\xea\x60"+strings.Repeat("x", 60000), 20)
	for name, c := range map[string]struct {
		hello, answer string
		class         connectors.Class
		code          string
	}{
		"another protocol":            {"HTTP/1.1 400 Bad Request\r\n\r\n", "", passes, ""},
		"an older version":            {"\x20\x02\x00\x01", "", act, "version"},
		"huge packet":                 {"\x20\xff\xff\xff\x7f", "", passes, "too_much"},
		"length without end":          {"\x20\xff\xff\xff\xff\xff\xff\xff\xff", "", passes, "protocol"},
		"authentication":              {"\xf0\x02\x18\x00", "", passes, "protocol"},
		"method of authentication":    {"\x20\x07\x00\x00\x04\x15\x00\x01x", "\x40\x02\x00\x01", ok, ""},
		"no room":                     {"\x20\x06\x00\x00\x03\x21\x00\x00", "", passes, ""},
		"half a property":             {"\x20\x04\x00\x00\x01\x21", "", passes, ""},
		"a message nobody wanted":     {connack, "\x30\x05\x00\x01ax\x00", passes, "protocol"},
		"huge acknowledgement":        {connack, "\x40\xff\xff\xff\x7f", passes, "too_much"},
		"half an acknowledgement":     {connack, "\x40\x01\x00", passes, ""},
		"acknowledges something else": {connack, "\x40\x02\x33\x33\xe0\x02\x8b\x00", passes, "0x8B"},
		"no end":                      {connack, endless, passes, "too_much"},
		"second hello":                {connack, connack, passes, ""},
	} {
		t.Run(name, func(t *testing.T) {
			addr := fakeBroker(t, func(kind byte, _ []byte) (string, bool) {
				switch kind {
				case connectPacket:
					return c.hello, c.hello != connack && c.answer == ""
				case publishPacket:
					return c.answer, false
				default:
					return "", false
				}
			})
			conn := connect(t, map[string]string{"CHANNEL_PASSWORD": "hunter2-and-more"}, config(addr, "u", ""))
			res := apply(t, conn, attempt("k", 1, "{}"))[0]
			if res.Class != c.class || c.code != "" && res.Code != c.code || res.Code == "timeout" {
				t.Errorf("%s, %q: %v", res.Class, res.Code, res.Err)
			}
		})
	}
}

// A broker that refuses a subscription, or ends the connection for it.
func TestReadIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		answer string // to SUBSCRIBE
		class  connectors.Class
		code   string
	}{
		"not authorised": {"\x90\x04\x00\x01\x00\x87", act, "0x87"},
		"disconnect":     {"\xe0\x02\x8b\x00", passes, "0x8B"},
		"huge message":   {"\x30\xff\xff\xff\x7f", passes, "too_much"},
	} {
		t.Run(name, func(t *testing.T) {
			addr := fakeBroker(t, func(kind byte, _ []byte) (string, bool) {
				switch kind {
				case connectPacket:
					return connack, false
				case subscribePacket:
					return c.answer, false
				default:
					return "", false
				}
			})
			conn := connect(t, map[string]string{"CHANNEL_PASSWORD": "x"}, config(addr, "u", ""))
			_, err := conn.Read(t.Context(), []string{"k"})
			if class := connectors.ClassOf(err); err == nil || class != c.class || !strings.Contains(err.Error(), c.code) {
				t.Errorf("%s: %v", class, err)
			}
		})
	}
}
