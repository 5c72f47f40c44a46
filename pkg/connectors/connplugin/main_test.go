package connplugin_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/hms-utl/extsync/examples/connector/jsonfile"
	"github.com/hms-utl/extsync/internal/testkit/plugged"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

// asPlugin is the first argument with which the test's program is a plugin.
const asPlugin = "as-plugin"

// TestMain is a plugin where a test starts it as one.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != asPlugin {
		os.Exit(m.Run())
	}
	if err := bePlugin(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func bePlugin(args []string) error {
	server := &plugged.Server{Kind: jsonfile.Kind(), Env: connectortest.Env(nil)}
	if len(args) > 0 {
		return beHostile(args, server)
	}
	return server.Serve(context.Background(), os.Stdin, os.Stdout)
}
