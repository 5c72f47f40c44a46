package publish_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/internal/wire/wiretest"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

func (p *platform) sendAck(t *testing.T, service string, n int) {
	t.Helper()
	subject, err := p.names.ServiceAck(service, fmt.Sprint(n))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(wire.NewAck("latest", "k", wiretest.Entry(t, fmt.Sprint(n)+"a", events.Delivered).Settlement))
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
	for ack, err := range publish.ServiceAcks(ctx, p.JS, p.names, service) {
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
	for ack, err := range publish.ServiceAcks(ctx, p.JS, p.names, "billing") {
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

// Acks that came in one message come one by one; all of them come again when the loop
// is left with one in hand.
func TestServiceAcksInLines(t *testing.T) {
	p := newPlatform(t)
	var lines []string
	for _, v := range []string{"1a", "2a", "3a"} {
		data, err := json.Marshal(wire.NewAck("latest", "k", wiretest.Entry(t, v, events.Delivered).Settlement))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(data))
	}
	if _, err := p.JS.Publish(t.Context(), "sync.acks.billing.all", []byte(strings.Join(lines, "\n"))); err != nil {
		t.Fatal(err)
	}
	p.sendAck(t, "billing", 4)
	if got := fmt.Sprint(p.take(t, "billing", 2, false)); got != "[1 2]" {
		t.Errorf("first: %s", got)
	}
	again := p.take(t, "billing", 4, true)
	if slices.Sort(again); fmt.Sprint(again) != "[1 2 3 4]" {
		t.Errorf("again: %v", again)
	}
}

func TestDecodeAcks(t *testing.T) {
	ack, err := json.Marshal(wire.NewAck("latest", "k", wiretest.Entry(t, "1a", events.Delivered).Settlement))
	if err != nil {
		t.Fatal(err)
	}
	one := string(ack)
	for text, want := range map[string]string{
		one: "k", one + "\n": "k", one + "\n" + one: "k k", one + "\nrubbish\n" + one: "k error k", one + "\n\n" + one: "k error k", "": "error", "\n": "error",
		`{"f":99}` + "\n" + one: "error k",
	} {
		var got []string
		for ack, err := range publish.DecodeAcks([]byte(text)) {
			if err != nil {
				ack.Key = "error"
			}
			got = append(got, ack.Key)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %v, want %s", text, got, want)
		}
	}
}

func FuzzDecodeAcks(f *testing.F) {
	f.Add([]byte(`{"f":1,"channel":"c","key":"k","version":"1","outcome":"delivered","at":"2024-01-01T00:00:00Z"}` + "\n{}\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := 0
		for ack, err := range publish.DecodeAcks(data) {
			if n++; err != nil {
				continue
			}
			if _, err := wire.AppendAck(nil, ack); err != nil {
				t.Errorf("%+v cannot be written: %v", ack, err)
			}
		}
		if lines := bytes.Count(data, []byte{'\n'}) + 1; n < 1 || n > lines {
			t.Errorf("%d acks in %d lines", n, lines)
		}
	})
}

func TestServiceAcksErrors(t *testing.T) {
	b := natstest.Run(t)
	for service, want := range map[string]error{"billing": events.ErrNotProvisioned, "*": events.ErrName} {
		n := 0
		for _, err := range publish.ServiceAcks(t.Context(), b.JS, events.DefaultNames(), service) {
			if n++; !errors.Is(err, want) {
				t.Errorf("service %q: %v, want %v", service, err, want)
			}
		}
		if n != 1 {
			t.Errorf("service %q: %d errors", service, n)
		}
	}
}
