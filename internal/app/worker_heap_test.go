package app

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// Whoever sizes a worker reads in operations.md by how much its heap may grow.
func TestOperationsSaysHowMuchAHeapMayGrow(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("Its heap may grow by\n  %d %% of itself and of %d MiB before it is collected", heapGrowth, heapHeadroom>>20)
	if !strings.Contains(string(text), want) {
		t.Errorf("docs/operations.md does not say %q", want)
	}
}
