package main

import (
	"errors"
	"io"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/demo"
)

const demoHelp = `Show what extsync does, in a few seconds and on a machine with nothing installed.

Broker, worker, an HTTP receiver and a SQLite file run in this process, in a
temporary directory that is removed at the end. Every sentence is checked: exit
code 0 means that all of it really happened.`

func demoCommand(sh *cli.Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Show what extsync does, in a few seconds",
		Long:    demoHelp,
		Example: "  extsync demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := sh.OwnSettings(loader)
			if err != nil {
				return err
			}
			o := demo.Options{Out: sh.Out, Strong: sh.Strong, Logger: sh.Logger(cfg.Log, zerolog.Disabled)}
			if sh.JSON {
				o.Out = io.Discard
			}
			summary, err := demo.Run(cmd.Context(), o)
			if sh.JSON {
				err = errors.Join(err, sh.WriteJSON(summary))
			}
			return err
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon)
	return cmd
}
