package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/local"
)

const devHelp = `Run broker, connector-worker, HTTP API, a relay and a receiver in this process, with the data on disk.

Other commands find the broker at its usual address. It takes connections from
this machine only and asks for no credentials: it is for development. The
API is at --http-listen, and asks for tokens if --http-token-keys-file is given. Without
--channels there are two channels: appointment_calendar, to a receiver in this
process, and erp_db, into a SQLite file. Channels may reach this machine and keep
databases in the data directory, besides what the settings "allow" say.

The relay publishes what transactions put into the outbox of outbox.db, a SQLite file
in the data directory: it stands for the database of a platform.

--telemetry-listen serves metrics and readiness of the worker; the log names the
address. Traces go where the standard OTEL_* variables say.`

func devCommand(sh *cli.Shell) *cobra.Command {
	var dir, listen, file string
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything in one process, with the data on disk",
		Long:  devHelp,
		Example: `  extsync dev
  extsync dev --data-dir /tmp/extsync --channels channels.yaml --telemetry-listen 127.0.0.1:9464`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := sh.OwnSettings(loader)
			if err != nil {
				return err
			}
			o := local.DevOptions{
				Dir: dir, Listen: listen, Config: cfg, Version: cli.Version(),
				Logger: sh.Logger(cfg.Log, zerolog.InfoLevel),
				Ready:  func(d local.Dev) error { return writeDev(sh, d) },
			}
			if file != "" {
				if o.File, err = cli.ReadFile(sh.In, file); err != nil {
					return err
				}
			}
			return local.RunDev(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "./extsync-data", "directory of all data")
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:4222", "the broker's address on loopback; port 0 takes a free one")
	cmd.Flags().StringVarP(&file, "channels", "f", "", "YAML file with the topics and channels to apply, - for standard input")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupStorage, config.GroupEmbedded, config.GroupWorker, config.GroupAllow, config.GroupTelemetry, config.GroupHTTP)
	return cmd
}

// writeDev tells what runs and what to do with it.
func writeDev(sh *cli.Shell, d local.Dev) error {
	if sh.JSON {
		return sh.WriteJSON(d)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "broker:    %s\n", d.BrokerURL)
	fmt.Fprintf(&b, "console:   %s/console/\n", d.APIURL)
	fmt.Fprintf(&b, "HTTP API:  %s (%[1]s/docs lists its routes)\n", d.APIURL)
	if d.ReceiverURL != "" {
		fmt.Fprintf(&b, "receiver:  %s (GET shows what it holds)\n", d.ReceiverURL)
		fmt.Fprintf(&b, "database:  %s (table %s)\n", d.SQLiteFile, local.ERPTable)
	}
	fmt.Fprintf(&b, "outbox:    %s (what is put into its table extsync_outbox is published)\n", d.OutboxFile)
	fmt.Fprintf(&b, "data:      %s\n", d.Dir)
	fmt.Fprintf(&b, "admin key: %s (for 'extsync tokens'; 'publisher serve' takes its public half, %[1]s.pub)\n", d.AdminKey)
	for _, c := range d.Channels {
		fmt.Fprintf(&b, "channel:   %s (%s)\n", c.Channel, c.Change)
	}
	fmt.Fprintf(&b, `
Try it from another terminal (the address is only needed if it is not the usual one):
  extsync push --nats-url %[1]s %[2]s p-2023-vax 7 --data '{"content":"Booster every 6 months"}' --wait 10s
  extsync get --nats-url %[1]s p-2023-vax
The same from a platform's own transaction:
  sqlite3 '%[3]s' "INSERT INTO extsync_outbox (target, key, version, payload) VALUES ('%[2]s', 'p-2024-flu', '1', '{\"content\":\"Every autumn\"}')"
  extsync wait --nats-url %[1]s %[2]s p-2024-flu@1
Ctrl-C stops it; the data stay.
`, d.BrokerURL, d.Channels[0].Channel, d.OutboxFile)
	_, err := io.WriteString(sh.Out, b.String())
	return err
}
