package cli

import (
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
)

const workerHelp = `Deliver updates until SIGINT or SIGTERM, then finish what is in flight.

Start as many as needed: they share the channels among themselves. Secrets that
channels refer to (${env:NAME}, ${file:/path}) are resolved here.

A channel gets nothing of this process and its networks but what the settings "allow"
say: by themselves variables CHANNEL_*, files in /run/extsync/secrets, and public
addresses. What is the worker's own, such as its key at the broker, it never gets.

--telemetry-listen lets it be looked at: /metrics, /healthz, and /readyz, which
says why when it is not. Traces are sent when OTEL_EXPORTER_OTLP_ENDPOINT is set,
by OTLP over HTTP; the other OTEL_* variables count too.`

// WorkerRunCommand returns the command that runs a connector-worker.
func WorkerRunCommand(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Deliver updates until stopped",
		Long:  workerHelp,
		Example: `  connector-worker run --nats-url nats://nats.example:4222 --telemetry-listen 127.0.0.1:9464
  EXTSYNC_NATS_URL=nats://nats.example:4222 CHANNEL_ERP_PASSWORD=... connector-worker run --allow-networks 10.20.0.0/16`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loader.Load(sh.Environ)
			if err != nil {
				return err
			}
			return app.RunWorker(cmd.Context(), app.WorkerOptions{
				Config: cfg,
				Logger: sh.Logger(cfg.Log, zerolog.InfoLevel),
			})
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupWorker, config.GroupAllow, config.GroupTelemetry)
	return cmd
}
