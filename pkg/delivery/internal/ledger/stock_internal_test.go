package ledger

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
)

// true stock of the bucket, by reading all of it while nobody writes.
func (v *View) inBucket(t *testing.T) (s Stock) {
	t.Helper()
	q := wire.StreamQuery{Stream: wire.KVStream(wire.LedgerBucket(v.o.Names)), Subject: v.o.Records}
	for msg, err := range wire.ReadStream(t.Context(), v.o.JS, q) {
		testkit.Must(t, err)
		rec, err := wire.DecodeRecord(msg.Data)
		testkit.Must(t, err)
		s.add(v.weigh(&rec, wire.KeyOfSubject(msg.Subject), len(msg.Data)), 1)
	}
	return s
}

// settle delivers one version of some keys under a configuration and writes them.
func (v *View) settle(t *testing.T, keys []string, version int64, content wire.ContentID) {
	t.Helper()
	for i, name := range keys {
		k := v.Pin(name)
		testkit.Must(t, v.Load(t.Context(), []*Key{k}))
		e := delivered(name, version)
		e.Content = content
		e.Response = fmt.Sprint("of any length: ", version*int64(i))
		e.ID = fmt.Sprint(version * int64(i) * int64(i))
		apply(v, k, e, place(uint64(version))) //nolint:gosec // not negative
		v.Unpin(k)
	}
	_, err := v.Write(t.Context())
	testkit.Must(t, err)
}

func names(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprint("k", i))
	}
	return out
}

func (v *View) wantStock(t *testing.T, when string) {
	t.Helper()
	got, known := v.Stock()
	want := v.inBucket(t)
	got.Standings, want.Standings = got.Standings.Sorted(), want.Standings.Sorted()
	if !known || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v (known: %v), the bucket has %+v", when, got, known, want)
	}
}

// What a partition has in the ledger is known exactly: when it was counted, and after each
// write that follows.
func TestStockFollowsTheBucket(t *testing.T) {
	v, b := newView(t)
	if _, known := v.Stock(); known {
		t.Fatal("nothing was counted yet")
	}
	v.settle(t, names(50), 1, 7)
	testkit.Must(t, v.Tally(t.Context()))
	v.wantStock(t, "counted")
	if s, _ := v.Stock(); s.Keys != 50 || s.Outdated != 50 {
		t.Errorf("%+v, want 50 keys, all as another configuration made them", s)
	}
	v.settle(t, names(20), 2, v.o.Content)
	v.wantStock(t, "20 delivered anew")
	if s, _ := v.Stock(); s.Outdated != 30 {
		t.Errorf("%+v, want 30 keys as another configuration made them", s)
	}
	v.settle(t, names(60), 3, v.o.Content)
	v.wantStock(t, "all delivered anew, and ten more")
	s, err := b.JS.Stream(t.Context(), wire.KVStream(wire.LedgerBucket(v.o.Names)))
	testkit.Must(t, err)
	got, _ := v.Stock()
	if takes := float64(s.CachedInfo().State.Bytes); math.Abs(float64(got.Bytes)-takes) > takes/20 { //nolint:gosec // no number of bytes
		t.Errorf("%d bytes, and the stream takes %.0f: more than a twentieth apart", got.Bytes, takes)
	}
}

// The records are counted while others take their places, before and behind the reader.
func TestStockIsCountedWhileTheViewWrites(t *testing.T) {
	v, _ := newView(t)
	all := names(1000)
	v.settle(t, all, 1, 7)
	seed := rand.Uint64() //nolint:gosec // not a secret
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not a secret
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	counted := make(chan error, 1)
	go func() { counted <- v.Tally(ctx) }()
	for version, done := int64(2), false; !done; version++ {
		dice.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		v.settle(t, all[:40], version, wire.ContentID(dice.IntN(2))+v.o.Content)
		select {
		case err := <-counted:
			testkit.Must(t, err)
			done = true
		default:
		}
	}
	v.wantStock(t, "counted meanwhile")
	v.settle(t, all, 1000, v.o.Content)
	v.wantStock(t, "and afterwards")
}
