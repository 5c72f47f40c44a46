// Command versitygw is an object store that speaks the S3 API, on a directory: a real
// server for tests. A bucket is a directory in it, and an object a file.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run serves at an address until it is interrupted, with TLS if there is a certificate.
func run() error {
	if len(os.Args) != 5 && len(os.Args) != 7 {
		return fmt.Errorf("usage: versitygw ADDRESS DIRECTORY ACCESS-KEY SECRET-KEY [CERT KEY]")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	store, err := posix.New(os.Args[2], meta.XattrMeta{}, posix.PosixOpts{})
	if err != nil {
		return err
	}
	config := &embedgw.Config{
		RootUserAccess: os.Args[3], RootUserSecret: os.Args[4], Ports: []string{os.Args[1]},
		MaxConnections: 1000, MaxRequests: 1000, MultipartMaxParts: 1, KeepAlive: true, Quiet: true,
	}
	if len(os.Args) == 7 {
		config.CertFile, config.KeyFile = os.Args[5], os.Args[6]
	}
	return embedgw.RunVersityGW(ctx, store, config)
}
