package connhttp

import "testing"

// BenchmarkHotPath has the steps of a call that need no other process; see
// bench/hotpath.
func BenchmarkHotPath(b *testing.B) {
	conn, err := New(b.Context(), testEnv(), Config{URL: "https://portal.example/v1/cases/{key}"})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close(b.Context()) }() // it has called nobody
	c, ok := conn.(*connector)
	if !ok {
		b.Fatalf("New made a %T", conn)
	}
	a := testAttempt()
	b.Run("build-request", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.request(b.Context(), &a, c.routeOf(&a)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
