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
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
)

// DevOptions say how to run the development stack.
type DevOptions struct {
	Dir    string // of all data; made if it does not exist
	Listen string // the broker's address on loopback, as host:port
	Config config.Config
	// File has the topics and channels to apply at the start. None: the channels of
	// SketchChannels, with a receiver for the calendar.
	File    channels.File
	Version string // of the program, which the HTTP API tells
	Logger  zerolog.Logger
	// Ready is called once, when everything runs. Its error ends the stack.
	Ready func(Dev) error
}

// Dev is what a running development stack offers.
type Dev struct {
	BrokerURL   string           `json:"broker_url"`
	APIURL      string           `json:"api_url"` // of the HTTP API
	ReceiverURL string           `json:"receiver_url,omitempty"`
	SQLiteFile  string           `json:"sqlite_file,omitempty"`
	OutboxFile  string           `json:"outbox_file"` // a database of a platform, whose outbox is relayed
	Dir         string           `json:"data_dir"`
	AdminKey    string           `json:"admin_key"` // its public half is the file with .pub
	Channels    []operate.Change `json:"channels"`
}

// RunDev runs a broker, a worker, the HTTP API, the relay of an outbox and a receiver in
// this process until ctx ends. The data stay in the directory.
func RunDev(ctx context.Context, o DevOptions) (err error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	dev := Dev{Dir: dir, AdminKey: filepath.Join(dir, "admin.key"), OutboxFile: filepath.Join(dir, "outbox.db")}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if _, err := tokens.MakeKey(dev.AdminKey, dev.AdminKey+".pub"); err != nil {
		return err
	}
	if len(o.File.Channels)+len(o.File.Topics) == 0 {
		receiver, err := StartReceiver(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = receiver.Close() }() // holds nothing that could be lost
		dev.ReceiverURL, dev.SQLiteFile = receiver.URL(), filepath.Join(dir, "erp.db")
		o.File.Channels = SketchChannels(dev.ReceiverURL, dev.SQLiteFile)
	}
	stack, err := Start(ctx, Options{Dir: filepath.Join(dir, "broker"), Config: o.Config, Databases: dir, Listen: o.Listen, Logger: o.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stack.Close()) }()
	dev.BrokerURL = stack.URL()
	applied, err := stack.Apply(ctx, o.File, false)
	if err != nil {
		return err
	}
	dev.Channels = applied.Channels
	api, err := startAPI(ctx, stack, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, api.Stop()) }()
	dev.APIURL = api.url
	relay, err := stack.RelayOutbox(ctx, dev.OutboxFile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, relay.Stop()) }()
	if err := o.Ready(dev); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-stack.Done(): // the worker failed; Close returns why
	case <-api.done: // it failed, too; Stop returns why
	case <-relay.done:
	}
	return nil
}

// An api is the HTTP API of a stack, running.
type api struct {
	*Task
	url string
}

// startAPI returns when the API is served.
func startAPI(ctx context.Context, stack *Stack, o DevOptions) (api, error) {
	ready := make(chan string, 1)
	task := begin(ctx, func(ctx context.Context) error {
		return app.Serve(ctx, stack.Client, app.PublisherOptions{
			Config: o.Config, Logger: o.Logger, Version: o.Version, Ready: func(url string) { ready <- url },
		})
	})
	select {
	case url := <-ready:
		return api{task, url}, nil
	case <-task.done:
		return api{}, task.Stop()
	}
}
