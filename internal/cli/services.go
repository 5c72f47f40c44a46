package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/publish"
)

// ServicesCommand returns the commands about services that read their acks.
func ServicesCommand(sh *Shell) *cobra.Command {
	return Group("services", "Let services read the acks that the broker keeps for them", servicesAdd(sh))
}

func servicesAdd(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "add NAME...",
		Short: "Make what a service reads its acks with",
		Long: `Make the durable consumer that a service reads its acks with, at a broker with roles:
a publisher may read from it, and make none itself. If it is there, it keeps its place.
'extsync broker-config --services' lets publishers use it.`,
		Example: "  extsync services add billing",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), readTimeout)
			defer cancel()
			client, err := sh.Connect(ctx, loader)
			if err != nil {
				return err
			}
			defer client.Close()
			for _, name := range args {
				if err := publish.AddService(ctx, client.JS, client.Names, name); err != nil {
					return err
				}
			}
			if sh.JSON {
				return sh.WriteJSON(map[string][]string{"services": args})
			}
			for _, name := range args {
				if _, err := fmt.Fprintf(sh.Out, "added: %s\n", clean(name)); err != nil {
					return err
				}
			}
			return nil
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}
