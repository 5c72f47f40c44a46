package versioning_test

import (
	"math"
	"math/rand"
	"reflect"
	"testing"
	"testing/quick"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// anyVersion makes random versions for testing/quick: of every kind, near the
// edges, and close enough together that equal ones are common.
type anyVersion struct{ versioning.Version }

// Generate implements quick.Generator.
func (anyVersion) Generate(r *rand.Rand, _ int) reflect.Value {
	return reflect.ValueOf(anyVersion{randomVersion(r)})
}

func randomVersion(r *rand.Rand) versioning.Version {
	switch r.Intn(8) {
	case 0:
		return versioning.Version{}
	case 1, 2:
		return versioning.Must(versioning.Number(1 + r.Int63n(4)))
	case 3:
		return versioning.Must(versioning.Number(1<<53 - 2 + r.Int63n(4)))
	case 4:
		return versioning.Must(versioning.Number(math.MaxInt64 - r.Int63n(3)))
	default:
		at := time.Unix(r.Int63n(3)-1, r.Int63n(3)).In(time.FixedZone("", int(r.Int63n(27)-13)*3600))
		if r.Intn(4) == 0 {
			at = time.Unix(-62135596800+r.Int63n(315537897599), r.Int63n(1e9))
		}
		return versioning.Must(versioning.Time(at))
	}
}

// quickConfig seeds testing/quick anew for each run and prints the seed, so that
// a failure can be repeated.
func quickConfig(t *testing.T) *quick.Config {
	t.Helper()
	return &quick.Config{MaxCount: 20000, Rand: testkit.Seeded(t)}
}
