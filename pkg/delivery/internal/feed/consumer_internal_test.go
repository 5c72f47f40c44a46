package feed

import "testing"

// A consumer of partition 3 of four that was left behind stood in the way of the only
// partition that came after them, and was never deleted.
func TestConsumerOfAFormerGenerationIsInTheWay(t *testing.T) {
	for name, want := range map[string]bool{
		"g1-p3-e4-1-2": true, "g1-p0-e4-1-2": true, "g2-p0-e4-1-2": true, "g3-p0-e4-1-2": true,
		"g2-p3-e4-1-2": false, "g3-p3-e4-1-2": false, "somebody-elses": false,
	} {
		if got := inTheWay(name, "g2-p0-e29-1-1"); got != want {
			t.Errorf("%s: %t, want %t", name, got, want)
		}
	}
}
