package natstest_test

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClientsComeBackAfterARestart(t *testing.T) {
	b := natstest.Run(t, natstest.Options{TCP: true})
	if _, err := b.JS.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
		t.Fatal(err)
	}
	back := make(chan string, 2)
	reconnected := func(name string) nats.Option {
		return nats.ReconnectHandler(func(*nats.Conn) { back <- name })
	}
	b.Connect(t, reconnected("in process"))
	tcp, err := nats.Connect(b.URL(), nats.ReconnectWait(1), reconnected("over TCP"))
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()

	url := b.URL()
	b.Stop(t)
	b.Start(t)
	if b.URL() != url {
		t.Errorf("the URL changed from %s to %s", url, b.URL())
	}
	if _, err := b.JS.Stream(t.Context(), "S"); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	for range 2 {
		t.Log(<-back, "client is back")
	}
}
