package versioning_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// A change of these bytes would turn every stored version into a conflict. The
// digits are those of: printf 'upsert\n{"a":1}' | sha256sum.
func TestSumIsFixed(t *testing.T) {
	const want = "029e69d055a8bdaea14f248c2d48d5216a7053116d1bc05073ecd69cd26271f9"
	d := versioning.Sum("upsert", []byte(`{"a":1}`))
	if d.String() != want {
		t.Errorf("Sum = %s, want %s", d, want)
	}
	if d.Short() != want[:16] {
		t.Errorf("Short = %s", d.Short())
	}
}

func TestSumTellsContentsApart(t *testing.T) {
	seen := map[versioning.Digest]string{}
	for _, c := range []struct{ op, payload string }{
		{"upsert", ""}, {"delete", ""}, {"upsert", "\n"}, {"upsert", "a"}, {"upsert", "a "}, {"upsert", "delete\n"},
	} {
		d := versioning.Sum(c.op, []byte(c.payload))
		name := c.op + "|" + c.payload
		if other, twice := seen[d]; twice {
			t.Errorf("%q and %q have one digest", name, other)
		}
		seen[d] = name
		if d.IsZero() {
			t.Errorf("%q has the zero digest", name)
		}
	}
	if versioning.Sum("upsert", nil) != versioning.Sum("upsert", []byte{}) {
		t.Error("no payload and an empty one differ")
	}
}

func TestDigestText(t *testing.T) {
	d := versioning.Sum("upsert", []byte("a"))
	data, err := json.Marshal(map[string]versioning.Digest{"d": d, "none": {}})
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]versioning.Digest
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if back["d"] != d || !back["none"].IsZero() {
		t.Errorf("%s gave %v", data, back)
	}
	for name, text := range map[string]string{
		"too short": d.String()[:63], "too long": d.String() + "0", "half": d.Short(),
		"not hexadecimal": strings.Repeat("g", 64), "a space": " " + d.String()[1:],
	} {
		t.Run("refuses "+name, func(t *testing.T) {
			keep := d
			if err := keep.UnmarshalText([]byte(text)); !errors.Is(err, versioning.ErrDigest) {
				t.Errorf("error = %v, want ErrDigest", err)
			}
			if keep != d {
				t.Error("a refused text changed the digest")
			}
		})
	}
}
