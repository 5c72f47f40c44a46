package publish

import (
	"strconv"
	"testing"
)

func TestHeadsRememberWhatWasUsedLast(t *testing.T) {
	c := newHeads(8)
	for i := range 100 {
		c.set(strconv.Itoa(i), head{seq: uint64(i)})
		if i >= 3 { // used again and again
			if h, ok := c.get("3"); !ok || h.seq != 3 {
				t.Fatalf("3 is forgotten after %d", i)
			}
		}
		if n := len(c.young) + len(c.old); n > 8 {
			t.Fatalf("%d are remembered", n)
		}
	}
	for i := 97; i < 100; i++ {
		if h, ok := c.get(strconv.Itoa(i)); !ok || h.seq != uint64(i) {
			t.Errorf("%d is forgotten", i)
		}
	}
	if _, ok := c.get("50"); ok {
		t.Error("50 is remembered")
	}
	c.set("3", head{seq: 4})
	if h, _ := c.get("3"); h.seq != 4 {
		t.Errorf("the old head %d is remembered", h.seq)
	}
	c.forget("3")
	if _, ok := c.get("3"); ok {
		t.Error("3 is remembered")
	}
}
