package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
)

// DevOptions say how to run the development stack.
type DevOptions struct {
	Dir    string // of all data; made if it does not exist
	Listen string // the broker's address on loopback, as host:port
	Config config.Config
	// Channels to apply at the start. None: those of SketchChannels, with a
	// receiver for the calendar.
	Channels []channels.Config
	Logger   zerolog.Logger
	// Ready is called once, when everything runs. Its error ends the stack.
	Ready func(Dev) error
}

// Dev is what a running development stack offers.
type Dev struct {
	BrokerURL   string       `json:"broker_url"`
	ReceiverURL string       `json:"receiver_url,omitempty"`
	SQLiteFile  string       `json:"sqlite_file,omitempty"`
	Dir         string       `json:"data_dir"`
	AdminKey    string       `json:"admin_key"` // its public half is the file with .pub
	Channels    []app.Change `json:"channels"`
}

// RunDev runs a broker, a worker and a receiver in this process until ctx ends.
// The data stay in the directory.
func RunDev(ctx context.Context, o DevOptions) (err error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	dev := Dev{Dir: dir, AdminKey: filepath.Join(dir, "admin.key")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if _, err := tokens.MakeKey(dev.AdminKey, dev.AdminKey+".pub"); err != nil {
		return err
	}
	if len(o.Channels) == 0 {
		receiver, err := StartReceiver(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = receiver.Close() }() // holds nothing that could be lost
		dev.ReceiverURL, dev.SQLiteFile = receiver.URL(), filepath.Join(dir, "erp.db")
		o.Channels = SketchChannels(dev.ReceiverURL, dev.SQLiteFile)
	}
	stack, err := Start(ctx, Options{Dir: filepath.Join(dir, "broker"), Config: o.Config, Databases: dir, Listen: o.Listen, Logger: o.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	dev.BrokerURL = stack.URL()
	applied, err := stack.Apply(ctx, o.Channels, false)
	if err != nil {
		return err
	}
	dev.Channels = applied.Channels
	if err := o.Ready(dev); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-stack.Done(): // the worker failed; Close returns why
	}
	return nil
}
