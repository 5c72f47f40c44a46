package faults

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Trouble is what goes wrong at an HTTPTarget. The zero Trouble is none. Rates
// are shares of all calls, 0 to 1.
type Trouble struct {
	// Errors are answered 503, and nothing is applied.
	Errors float64
	// Refused connections are cut before anything is applied.
	Refused float64
	// Cut connections are cut after the write was applied and before the answer.
	Cut float64
	// Every call takes between Delay and twice as long before it is applied.
	Delay time.Duration
}

// Cause changes what goes wrong from the next call on.
func (tg *HTTPTarget) Cause(trouble Trouble) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	tg.trouble = trouble
}

// Hold lets every call of a key hang until release is called, those of all keys
// if key is "". What is held is applied afterwards, unless its caller hung up.
func (tg *HTTPTarget) Hold(key string) (release func()) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	hold := make(chan struct{})
	tg.holds[key] = hold
	return func() {
		tg.mu.Lock()
		defer tg.mu.Unlock()
		if tg.holds[key] == hold {
			delete(tg.holds, key)
			close(hold)
		}
	}
}

// OnWrite has f called after each write was recorded and before it is answered.
// nil: nothing is called.
func (tg *HTTPTarget) OnWrite(f func(Write)) {
	tg.mu.Lock()
	defer tg.mu.Unlock()
	tg.onWrite = f
}

// fate is what happens to one call.
type fate struct {
	refuse, fail, cut bool
	delay             time.Duration
}

// decide rolls the dice for the nth call of a version. The order in which calls
// arrive has no part in it, so a seed means the same in every run.
func (tr Trouble) decide(seed uint64, id string, n uint64) fate {
	h := fnv.New64a()
	var number [16]byte
	binary.LittleEndian.PutUint64(number[:8], seed)
	binary.LittleEndian.PutUint64(number[8:], n)
	_, _ = h.Write(append(number[:], id...)) // a hash never fails to write
	dice := rand.New(rand.NewPCG(seed, h.Sum64()))
	f := fate{refuse: dice.Float64() < tr.Refused, fail: dice.Float64() < tr.Errors, cut: dice.Float64() < tr.Cut}
	if tr.Delay > 0 {
		f.delay = tr.Delay + time.Duration(dice.Int64N(int64(tr.Delay)))
	}
	return f
}
