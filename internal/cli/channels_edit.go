package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

const editHelp = `Open the configuration of a channel in an editor ($VISUAL, else $EDITOR, else vi), and
apply what was saved. What is wrong with it is said, and the editor opens again with
what was written; leave it as it is to give up. If nothing was changed, nothing is done. If somebody else has changed
the channel meanwhile, nothing is applied, and what was written is kept in a file.`

func channelsEdit(sh *Shell) *cobra.Command {
	var loader *config.Loader
	cmd := &cobra.Command{
		Use:     "edit NAME",
		Short:   "Change a channel's configuration in an editor",
		Long:    editHelp,
		Example: "  extsync channels edit erp_db\n  EDITOR=nano extsync channels edit erp_db",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !terminal(sh.Err) && sh.environ("VISUAL")+sh.environ("EDITOR") == "" {
				return fmt.Errorf("%w: there is no terminal for an editor; 'extsync channels show' and 'extsync channels apply' do it in two steps", errUsage)
			}
			return sh.connected(cmd, loader, 0, func(ctx context.Context, client *operate.Client) error {
				return sh.editChannel(ctx, client, args[0])
			})
		},
	}
	loader = brokerFlags(cmd)
	cmd.ValidArgsFunction = completeChannels(sh, loader, 1)
	return cmd
}

// environ returns a variable, "" if it is not set.
func (sh *Shell) environ(name string) (text string) {
	for _, entry := range sh.Environ {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			text = value // the last one counts
		}
	}
	return text
}

func (sh *Shell) editChannel(ctx context.Context, client *operate.Client, name string) (err error) {
	channel, err := client.Channel(ctx, name)
	if err != nil {
		return err
	}
	entry := channel.Entry
	if !entry.Deleted.IsZero() {
		return fmt.Errorf("%w: %s", channels.ErrDeleted, name)
	}
	path, err := fileToEdit(channel)
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if keep {
			err = fmt.Errorf("%w; what you wrote is in %s", err, path)
		} else {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	cfg, err := sh.edited(ctx, client, name, path)
	if err != nil {
		return err
	}
	if cfg == nil {
		_, err := fmt.Fprintf(sh.Out, "%s: nothing was changed\n", name)
		return err
	}
	keep = true
	change, err := client.Put(ctx, *cfg, false, func(revision uint64) error {
		if revision != entry.Revision {
			return fmt.Errorf("%w: revision %d was edited, and it is at %d now", channels.ErrRevision, entry.Revision, revision)
		}
		return nil
	})
	if err != nil {
		return err
	}
	keep = false
	if sh.JSON {
		return sh.WriteJSON(change)
	}
	_, err = fmt.Fprintf(sh.Out, "%s: %s\n", name, change.Change)
	return err
}

// fileToEdit returns a file of this person's alone with the configuration of a channel.
func fileToEdit(channel operate.ChannelConfig) (path string, err error) {
	file, err := os.CreateTemp("", "extsync-"+channel.Name+"-*.yaml")
	if err != nil {
		return "", fmt.Errorf("file to edit: %w", err)
	}
	err = writeConfigs(&Shell{Out: file}, []operate.ChannelConfig{channel})
	if err = errors.Join(err, file.Close()); err != nil {
		return "", errors.Join(err, os.Remove(file.Name()))
	}
	return file.Name(), nil
}

// edited has a file edited until it holds a configuration of the channel that is valid. nil:
// it was left as it was.
func (sh *Shell) edited(ctx context.Context, client *operate.Client, name, path string) (*channels.Config, error) {
	last, err := readBounded(path)
	if err != nil {
		return nil, err
	}
	for {
		if err := sh.openEditor(ctx, path); err != nil {
			return nil, err
		}
		written, err := readBounded(path)
		if err != nil || bytes.Equal(written, last) { // whoever leaves a mistake as it is gives up
			return nil, err
		}
		last = written
		listed, err := decodeFile(bytes.NewReader(written), path)
		if err == nil && (len(listed.Topics) > 0 || len(listed.Channels) != 1 || listed.Channels[0].Name != name) {
			err = fmt.Errorf("%w: this edits channel %s alone; 'extsync channels clone' makes one of another name", connectors.ErrConfig, name)
		}
		if err == nil {
			err = listed.Validate(client.Catalog)
		}
		if err == nil {
			return &listed.Channels[0], nil
		}
		if _, err := fmt.Fprintln(sh.Err, clean(oneLine(err.Error()))); err != nil {
			return nil, err
		}
	}
}

// openEditor opens a file in the person's editor. The editor may be a command with
// arguments.
func (sh *Shell) openEditor(ctx context.Context, path string) error {
	words, from := []string{"vi"}, "set EDITOR to one that is there"
	for _, variable := range []string{"VISUAL", "EDITOR"} {
		if set := strings.Fields(sh.environ(variable)); len(set) > 0 {
			words, from = set, variable+" names it: set it to one that is there"
			break
		}
	}
	cmd := exec.CommandContext(ctx, words[0], append(slices.Clone(words[1:]), path)...) //nolint:gosec // the person's own editor
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = sh.In, sh.Err, sh.Err, sh.Environ
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &ended):
		return fmt.Errorf("%w: editor %s: %w; nothing was applied, which is done with what it saves when it ends with exit code 0", errUsage, words[0], err)
	case err != nil:
		return fmt.Errorf("%w: editor %s: %w; %s", errUsage, words[0], err, from)
	}
	return nil
}

// readBounded reads a file that may not be larger than a configuration.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // made by this command
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read from
	return io.ReadAll(io.LimitReader(f, connectors.MaxConfigLen+1))
}
