package delivery_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No worker leaves a goroutine behind, whatever a test did to it.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
