package events_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/pkg/events"
)

func (p *platform) sendAck(t *testing.T, service string, n int) {
	t.Helper()
	subject, err := p.names.ServiceAck(service, fmt.Sprint(n))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(events.NewAck("latest", "k", entry(t, fmt.Sprint(n)+"a", events.Delivered).Settlement))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.JS.Publish(t.Context(), subject, data); err != nil {
		t.Fatal(err)
	}
}

// take reads n acks. handled says what becomes of the last one: the loop asks for
// another one, or is left with it in hand.
func (p *platform) take(t *testing.T, service string, n int, handled bool) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	for ack, err := range events.ServiceAcks(ctx, p.JS, p.names, service) {
		if err != nil {
			got = append(got, "error")
		} else {
			got = append(got, ack.Version.String())
		}
		if len(got) < n {
			continue
		}
		if !handled {
			break
		}
		cancel()
	}
	return got
}

func TestServiceAcksGoOnWhereTheyWere(t *testing.T) {
	p := newPlatform(t)
	for n := 1; n <= 5; n++ {
		p.sendAck(t, "billing", n)
		p.sendAck(t, "others", 100+n)
	}
	if got := fmt.Sprint(p.take(t, "billing", 3, false)); got != "[1 2 3]" {
		t.Errorf("first: %s", got)
	}
	// What was in hand and what was not looked at comes again, at once.
	began := time.Now()
	again := p.take(t, "billing", 3, true)
	if slices.Sort(again); fmt.Sprint(again) != "[3 4 5]" {
		t.Errorf("again: %v", again)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	p.Stop(t)
	p.Start(t)
	p.sendAck(t, "billing", 6)
	if got := fmt.Sprint(p.take(t, "billing", 1, true)); got != "[6]" {
		t.Errorf("after a restart: %s", got)
	}
	if got := fmt.Sprint(p.take(t, "others", 2, true)); got != "[101 102]" {
		t.Errorf("another service: %s", got)
	}
}

func TestServiceAcksWaitUntilTheContextEnds(t *testing.T) {
	p := newPlatform(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.sendAck(t, "billing", 1)
	var got []string
	for ack, err := range events.ServiceAcks(ctx, p.JS, p.names, "billing") {
		if err != nil {
			t.Fatalf("the end of the context came as %v", err)
		}
		got = append(got, ack.Version.String())
		if len(got) == 1 {
			p.sendAck(t, "billing", 2) // comes while the reader waits
			continue
		}
		cancel()
	}
	if fmt.Sprint(got) != "[1 2]" {
		t.Errorf("got %v", got)
	}
}

func TestServiceAcksSkipsGarbage(t *testing.T) {
	p := newPlatform(t)
	if _, err := p.JS.Publish(t.Context(), "sync.acks.billing.x", []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	p.sendAck(t, "billing", 1)
	if got := fmt.Sprint(p.take(t, "billing", 2, true)); got != "[error 1]" {
		t.Errorf("got %s", got)
	}
}

func TestServiceAcksErrors(t *testing.T) {
	b := natstest.Run(t)
	for service, want := range map[string]error{"billing": events.ErrNotProvisioned, "*": events.ErrName} {
		n := 0
		for _, err := range events.ServiceAcks(t.Context(), b.JS, events.DefaultNames(), service) {
			if n++; !errors.Is(err, want) {
				t.Errorf("service %q: %v, want %v", service, err, want)
			}
		}
		if n != 1 {
			t.Errorf("service %q: %d errors", service, n)
		}
	}
}
