package publish_test

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// rawPublish stores a message whose headers are none, as nats.go never would.
func rawPublish(t *testing.T, address, subject, headers, payload string) {
	t.Helper()
	u, err := url.Parse(address)
	testkit.Must(t, err)
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", u.Host)
	testkit.Must(t, err)
	defer func() { testkit.Must(t, conn.Close()) }()
	headers = "NATS/1.0\r\n" + headers + "\r\n\r\n"
	_, err = fmt.Fprintf(conn, "CONNECT {\"headers\":true,\"verbose\":false}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		subject, len(headers), len(headers)+len(payload), headers, payload)
	testkit.Must(t, err)
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		switch line := lines.Text(); {
		case line == "PONG":
			return
		case strings.HasPrefix(line, "-ERR"):
			t.Fatal(line)
		}
	}
	t.Fatal("the server has closed the connection")
}

// A message whose headers cannot be read by any client is the newest of its key.
// Publishing the key failed for good.
func TestHeadWithBrokenHeadersIsOvertaken(t *testing.T) {
	b := newPlatform(t, natstest.Options{TCP: true})
	names := b.names
	rawPublish(t, b.URL(), names.Update(events.ToChannel("latest"), "k"), "ce-specversion\r\nfoo bar: x", "{}")
	stream, err := b.JS.Stream(t.Context(), wire.UpdateStream(names, events.ToChannel("latest")))
	testkit.Must(t, err)
	if _, err := stream.GetLastMsgForSubject(t.Context(), wire.StoredUpdate(names, events.ToChannel("latest"), "k")); err == nil {
		t.Fatal("nats.go reads the headers: this shows nothing")
	}
	msg, err := wire.ReadLast(t.Context(), b.JS, stream, wire.StoredUpdate(names, events.ToChannel("latest"), "k"))
	if err != nil || string(msg.Data) != "{}" || len(msg.Header) != 0 {
		t.Fatalf("%+v, %v; want the message without headers", msg, err)
	}
	r, err := b.publisher(t).Publish(t.Context(), events.Update{Channel: "latest", Key: "k", Version: testkit.Number(1), Payload: []byte("{}")})
	if err != nil || r.Sequence != msg.Sequence+1 {
		t.Errorf("%+v, %v; want it stored behind the broken one", r, err)
	}
}
