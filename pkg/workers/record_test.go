package workers_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hms-utl/extsync/pkg/why"
	"github.com/hms-utl/extsync/pkg/workers"
)

// record is one with a channel for each wait.
func record(waits int) workers.Record {
	r := workers.Record{Worker: "w1", Host: "host", PID: 7, Version: "v1", Started: time.Unix(1e9, 0).UTC(), TTL: 4000, Working: 3}
	for s := range 64 {
		r.Shards = append(r.Shards, s)
	}
	for i := range waits {
		code := why.CircuitOpen
		if i == waits-1 {
			code = why.SecretMissing
		}
		r.Waits = append(r.Waits, workers.Wait{
			Channel: fmt.Sprintf("channel_%04d", i), Code: code, Since: r.Started, Next: r.Started,
			Message: strings.Repeat("cannot resolve secret: environment variable CHANNEL_ERP_TOKEN is not set ", 3),
		})
	}
	return r
}

// TestRecordIsBounded: with 1,000 channels that wait, the most urgent come first, and
// the rest is counted.
func TestRecordIsBounded(t *testing.T) {
	r := record(1000)
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > workers.MaxBytes {
		t.Errorf("%d bytes", len(data))
	}
	got, err := workers.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes, %d waits in detail, %d more", len(data), len(got.Waits), got.More)
	if len(got.Waits)+got.More != 1000 || len(got.Waits) < 50 || got.Waits[0].Code != why.SecretMissing || got.Waits[0].Channel != "channel_0999" {
		t.Errorf("%d waits, %d more, first %+v", len(got.Waits), got.More, got.Waits[0])
	}
	quiet := record(0)
	quiet.Working = 1000
	if data, err = quiet.Encode(); err != nil || len(data) > 500 {
		t.Errorf("1,000 channels that move: %d bytes, %v", len(data), err)
	}
	t.Logf("%d bytes when all is well", len(data))
}

func TestLongMessagesAreCut(t *testing.T) {
	for n := 290; n < 310; n++ {
		got := workers.Shorten(strings.Repeat("ä", n/2) + "x")
		if len(got) > 300 || !utf8.ValidString(got) {
			t.Errorf("%d bytes: %q", len(got), got)
		}
	}
}

func TestRecordsThatCannotBeRead(t *testing.T) {
	r := record(1)
	good, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := workers.Decode(good); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":          nil,
		"no JSON":        []byte("x"),
		"too large":      append(bytes.Repeat([]byte(" "), workers.MaxBytes), good...),
		"no name":        bytes.Replace(good, []byte(`"worker":"w1"`), []byte(`"worker":""`), 1),
		"no TTL":         bytes.Replace(good, []byte(`"ttl_ms":4000`), []byte(`"ttl_ms":0`), 1),
		"endless TTL":    bytes.Replace(good, []byte(`"ttl_ms":4000`), []byte(`"ttl_ms":400000000`), 1),
		"no such shard":  bytes.Replace(good, []byte(`"shards":[0,`), []byte(`"shards":[64,`), 1),
		"another format": bytes.Replace(good, []byte(`"f":1`), []byte(`"f":99`), 1),
	} {
		if bytes.Equal(data, good) {
			t.Errorf("%s: the test changes nothing", name)
		}
		if _, err := workers.Decode(data); !errors.Is(err, workers.ErrRecord) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	r := record(2)
	data, err := r.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"f":1,"worker":"w","ttl_ms":1,"shards":[-1]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := workers.Decode(data)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil {
			t.Fatalf("%+v cannot be encoded: %v", r, err)
		}
		if _, err := workers.Decode(again); err != nil {
			var v any
			_ = json.Unmarshal(again, &v)
			t.Fatalf("%v is not read back: %v", v, err)
		}
	})
}

func TestAlive(t *testing.T) {
	newest := time.Now()
	for age, want := range map[time.Duration]bool{0: true, 3 * time.Second: true, 4 * time.Second: false, time.Hour: false, -time.Second: true} {
		if got := workers.Alive(newest.Add(-age), newest, 4*time.Second); got != want {
			t.Errorf("%s older than the newest: %v", age, got)
		}
	}
}
