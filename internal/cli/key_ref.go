package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

func keyRef(sh *Shell) *cobra.Command {
	return Group("ref", "Look at or set what the target gave for a key", keyRefShow(sh), keyRefSet(sh), keyRefReset(sh))
}

// keyRefs is what the commands tell.
type keyRefs struct {
	Channel string      `json:"channel"`
	Key     string      `json:"key"`
	Refs    events.Refs `json:"refs"`
}

func keyRefShow(sh *Shell) *cobra.Command {
	var loader *config.Loader
	cmd := &cobra.Command{
		Use:   "show CHANNEL KEY",
		Short: "Show what is remembered of a key",
		Long: `Show what the target gave for a key and gets back with the next call: its own id of
the entity, an ETag. The channel's answers say what is remembered.`,
		Example: "  extsync key ref show crm p-2023-vax",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.connected(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client) error {
				refs, err := client.Refs(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				return writeRefs(sh, keyRefs{args[0], args[1], refs})
			})
		},
	}
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func keyRefSet(sh *Shell) *cobra.Command {
	var loader *config.Loader
	cmd := &cobra.Command{
		Use:   "set CHANNEL KEY NAME=VALUE...",
		Short: "Set what is remembered of a key",
		Long: `Set values that the target's next call for a key gets, as if the target had answered
them: for an object that it had before, or whose id was lost. Values of other names stay,
and an empty one is forgotten. A worker must be running.`,
		Example: "  extsync key ref set crm p-2023-vax id=4711",
		Args:    cobra.MinimumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			more := events.Refs{}
			for _, arg := range args[2:] {
				name, value, ok := strings.Cut(arg, "=")
				if !ok || name == "" {
					return fmt.Errorf("%w: %q is not NAME=VALUE", errUsage, arg)
				}
				more[name] = value
			}
			return sh.withRegistry(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client, r *channels.Registry) error {
				return changeRefs(ctx, sh, client, r, args[0], args[1], func(was events.Refs) events.Refs { return was.With(more) })
			})
		},
	}
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

func keyRefReset(sh *Shell) *cobra.Command {
	var (
		yes    bool
		loader *config.Loader
	)
	cmd := &cobra.Command{
		Use:   "reset CHANNEL KEY",
		Short: "Forget what is remembered of a key",
		Long: `Forget what the target gave for a key. The next upsert is a create: the connector looks
for the object first if the channel says how, else the target may have two of them. A
worker must be running.`,
		Example: "  extsync key ref reset crm p-2023-vax --yes",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return unconfirmed("make channel %s forget what its target gave for key %s", args[0], args[1])
			}
			return sh.withRegistry(cmd, loader, readTimeout, func(ctx context.Context, client *operate.Client, r *channels.Registry) error {
				return changeRefs(ctx, sh, client, r, args[0], args[1], func(events.Refs) events.Refs { return nil })
			})
		},
	}
	yesFlag(cmd, &yes)
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

// changeRefs has the owner of a key change what is remembered of it, and tells what is now.
func changeRefs(ctx context.Context, sh *Shell, client *operate.Client, r *channels.Registry, channel, key string, change func(events.Refs) events.Refs) error {
	was, err := client.Refs(ctx, channel, key)
	if err != nil {
		return err
	}
	doc := keyRefs{channel, key, change(was)}
	act := auditlog.Act{Action: "key.refs", Target: "channel " + channel, Before: keyRefs{channel, key, was}}
	err = client.Act(ctx, act, func(ctx context.Context) (any, error) { return doc, r.SetRefs(ctx, channel, key, doc.Refs) })
	if err != nil {
		return err
	}
	return writeRefs(sh, doc)
}

func writeRefs(sh *Shell, doc keyRefs) error {
	if sh.JSON {
		if doc.Refs == nil {
			doc.Refs = events.Refs{}
		}
		return sh.WriteJSON(doc)
	}
	if len(doc.Refs) == 0 {
		_, err := fmt.Fprintf(sh.Out, "%s: nothing is remembered of key %s\n", doc.Channel, clean(doc.Key))
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(doc.Refs)) {
		if _, err := fmt.Fprintf(sh.Out, "%s=%s\n", clean(name), clean(doc.Refs[name])); err != nil {
			return err
		}
	}
	return nil
}
