package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
)

// connected runs work with a client, for at most most (0: as long as it takes).
func (sh *Shell) connected(cmd *cobra.Command, loader *config.Loader, most time.Duration, work func(context.Context, *operate.Client) error) error {
	ctx := cmd.Context()
	if most > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, most)
		defer cancel()
	}
	client, err := sh.Connect(ctx, loader)
	if err != nil {
		return err
	}
	defer client.Close()
	return meant(ctx, client, work(ctx, client))
}

// meant adds to the error of a channel that is not there the name of the one that was
// probably meant.
func meant(ctx context.Context, client *operate.Client, err error) error {
	var missing *channels.NotFoundError
	if !errors.As(err, &missing) {
		return err
	}
	return meantChannel(ctx, client, missing.Name, err)
}

func meantChannel(ctx context.Context, client *operate.Client, name string, err error) error {
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	registry, rerr := client.Registry(ctx)
	if rerr != nil {
		return err // what is wrong with the registry is not the question
	}
	entries, _ := registry.List(ctx) // the names that can be read are better than none
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Config.Name
	}
	if near := nearest(name, names); near != "" {
		return fmt.Errorf("%w%s", err, didYouMean("", near))
	}
	return err
}

// checkChannels returns an error if one of some channels is not there.
func checkChannels(ctx context.Context, client *operate.Client, names ...string) error {
	registry, err := client.Registry(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, err := registry.Get(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// withRegistry is connected, with the registry of channels at hand.
func (sh *Shell) withRegistry(cmd *cobra.Command, loader *config.Loader, most time.Duration, work func(context.Context, *operate.Client, *channels.Registry) error) error {
	return sh.connected(cmd, loader, most, func(ctx context.Context, client *operate.Client) error {
		registry, err := client.Registry(ctx)
		if err != nil {
			return err
		}
		return work(ctx, client, registry)
	})
}

// brokerFlags declares what every command needs that speaks to the broker.
func brokerFlags(cmd *cobra.Command) *config.Loader {
	loader := config.NewLoader()
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return loader
}

// yesFlag declares --yes.
func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVar(yes, "yes", false, "do it; without this the command only says what it would do")
}

var (
	// errUnconfirmed says that a command wants to hear --yes first.
	errUnconfirmed = errors.New("not confirmed")
	// errFound ends a command that has found what it looked for and has said so:
	// there is an exit code and nothing more to report.
	errFound = errors.New("something was found")
)

// unconfirmed says what a command would do if it was told to.
func unconfirmed(format string, args ...any) error {
	return fmt.Errorf("%w: this would %s", errUnconfirmed, fmt.Sprintf(format, args...))
}

// completionTime bounds the look for names while somebody waits at a prompt.
const completionTime = 2 * time.Second

// completeChannels completes the first arguments of a command with the names of
// channels. Whoever presses a key must not be answered with an error.
func completeChannels(sh *Shell, loader *config.Loader, most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completionTime)
		defer cancel()
		client, err := sh.Connect(ctx, loader)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer client.Close()
		registry, err := client.Registry(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		entries, _ := registry.List(ctx) // the names that can be read are better than none
		names := make([]string, len(entries))
		for i, e := range entries {
			names[i] = cobra.CompletionWithDesc(e.Config.Name, e.Config.Description)
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeWords completes a flag that takes one of a few words.
func completeWords(cmd *cobra.Command, flag string, words ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}
