package extsync_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hms-utl/extsync/internal/local"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/extsync"
)

// What the examples run against, which cannot be handed to them otherwise.
//
//nolint:gochecknoglobals // see above
var (
	stack      *local.Stack // a broker and a worker
	sqliteFile string       // of the channel erp_db
)

func TestMain(m *testing.M) { os.Exit(runStack(m)) }

func runStack(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "extsync-door-")
	if err == nil {
		sqliteFile = filepath.Join(dir, "erp.db")
		stack, err = local.Start(context.Background(), local.Options{Dir: filepath.Join(dir, "broker"), Databases: dir, Listen: "127.0.0.1:0"})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := errors.Join(stack.Close(), os.RemoveAll(dir)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	file := channels.File{Channels: local.SketchChannels("http://127.0.0.1:1/", sqliteFile)[1:], Topics: []channels.Topic{channels.Topic{Name: "policies"}.WithDefaults()}}
	for _, name := range []string{"archive", "portal"} { // they read the topic
		reader := extsync.SQL(name, "sqlite", filepath.Join(dir, name+".db"))
		reader.From = &channels.From{Topic: "policies"}
		file.Channels = append(file.Channels, reader.WithDefaults())
	}
	if _, err := stack.Apply(context.Background(), file, false); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
