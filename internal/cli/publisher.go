package cli

import (
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
)

const serveHelp = `Serve the HTTP API until SIGINT or SIGTERM, then answer what was accepted.

Start as many as needed behind a balancer. With --http-token-keys-file each request
needs a token ('extsync tokens'); without it, it listens on loopback only. /docs lists the routes, /openapi.json describes them.`

// PublisherServeCommand returns the command that serves the HTTP API.
func PublisherServeCommand(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API until stopped",
		Long:  serveHelp,
		Example: `  publisher serve
  publisher serve --http-token-keys-file admin.key.pub --http-listen 0.0.0.0:8443 --http-cert-file tls.crt --http-key-file tls.key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loader.Load(sh.Environ)
			if err != nil {
				return err
			}
			return app.RunPublisher(cmd.Context(), app.PublisherOptions{
				Config: cfg, Logger: sh.Logger(cfg.Log, zerolog.InfoLevel), Version: readVersion().Version,
			})
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupHTTP)
	return cmd
}
