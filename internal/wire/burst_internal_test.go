package wire

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestAnswersToAPublish(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		seq        uint64
		duplicate  bool
		check      func(error) bool
	}{
		{"stored", `{"stream":"KV_sync_ledger","seq":12}`, 12, false, nil},
		{"there before", `{"stream":"KV_sync_ledger","seq":12,"duplicate":true}`, 12, true, nil},
		{"stored in a domain", `{"stream":"KV_sync_ledger", "domain":"d", "seq":13}`, 13, false, nil},
		{"another was there", `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"stream":"KV_sync_ledger","seq":0}`, 0, false, IsWrongSequence},
		{"full", `{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"KV_sync_ledger","seq":0}`, 0, false, IsFull},
		{"nobody", "", 0, false, func(err error) bool { return errors.Is(err, jetstream.ErrNoStreamResponse) }},
		{"no sequence", `{"stream":"KV_sync_ledger"}`, 0, false, func(err error) bool { return errors.Is(err, jetstream.ErrInvalidJSAck) }},
		{"rubbish", "{", 0, false, func(err error) bool { return err != nil }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seq, duplicate, err := Answer{Data: []byte(tt.data)}.Stored()
			if seq != tt.seq || duplicate != tt.duplicate || tt.check == nil && err != nil || tt.check != nil && !tt.check(err) {
				t.Errorf("sequence %d, duplicate %v, error %v", seq, duplicate, err)
			}
		})
	}
}

func FuzzAnswerToAPublish(f *testing.F) {
	for _, seed := range []string{"", "{", `{"stream":"S","seq":12}`, `{"stream":"S","seq":1,"duplicate":true}`, `{"error":{"err_code":10071},"seq":0}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if seq, _, err := (Answer{Data: data}).Stored(); err == nil && seq == 0 {
			t.Errorf("%q is no error", data)
		}
	})
}
