package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/tryout"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/guardrace"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/events"
)

const testHelp = `Show what a channel would send for a sample update: whether its filter lets the
update pass, the payload as it is sent, and the request or the statement.
Nothing is sent, stored or acked, and secrets are shown as ***.

CHANNEL is taken from the broker, or from the file given with -f, which needs no
broker. KEY is "sample" and VERSION is 1 unless given.

With --send this one attempt is really made, past the queue and the ledger, with
the secrets and networks of this machine that the settings "allow" give. The target may keep what it gets: use a key that
is nobody's.

--answer says what an answer of the target would mean: which of the channel's rules
match it, which one decides, and what the engine would then do. The sample is a file,
or - for standard input: {"status": 200, "headers": {}, "body": {}}, or what curl -i
prints. --op and --data are those of the update that is answered. Kind http only.

--guard finds out whether the target keeps an older version from replacing a newer
one. It shows the first version that it would send; with --send, eight writers race
for KEY at the target, each with a connector of its own, for twenty rounds. In a
round each writer sends another version, all at once, and then one comes late that
is older than the newest. The target must hold the newest after each round, and must
not take an older version after a newer one. Where it cannot be read, its answers are
judged alone.

The race sends 180 versions of KEY, beginning at VERSION, all with the payload of
--data, through filter and mapping. Then it deletes KEY, by version 181. A target that
keeps tombstones keeps that one. KEY is "extsync-guard-" and a random number, which
audits pass over; if you give another one, no entity may have it. The channel's rate and concurrency do not limit
the race. A guard that is not the target's (ledger, none) is refused. The exit code
is 8 if the guard does not hold.`

const testExample = `  extsync channels test erp_db --data @policy.json
  extsync channels test erp_db -f channels.yaml p-2023-vax 7 --data '{"content":"x"}' --json
  extsync channels test erp_db test-key 1 --data '{"content":"x"}' --send
  curl -si https://crm.example/v1/contacts/7 | extsync channels test crm --answer -
  extsync channels test erp_db --guard --data '{"content":"x"}' --send`

type testFlags struct {
	pushFlags
	file, source, typ string
	answer            string
	send, guard       bool
}

func channelsTest(sh *Shell) *cobra.Command {
	var f testFlags
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "test CHANNEL [KEY [VERSION]]",
		Short: "Show what a channel would send for a sample update",
		Long:  testHelp, Example: testExample,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), sh, loader, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", "take the channel from this file of channels, - for standard input")
	flags.StringVar(&f.data, "data", "", "payload: the text itself, @file, or - for standard input")
	flags.StringVar(&f.op, "op", string(events.Upsert), "upsert or delete")
	flags.StringVar(&f.base, "base", "", "version that this one was made from")
	flags.StringVar(&f.contentType, "content-type", events.DefaultContentType, "media type of the payload")
	flags.StringVar(&f.source, "source", "", "source of the update; default as push has it")
	flags.StringVar(&f.typ, "type", "", "type of the update; default as push has it")
	flags.StringVar(&f.answer, "answer", "", "say what this answer would mean: a file, or - for standard input")
	flags.BoolVar(&f.guard, "guard", false, "have writers race at the target (with --send)")
	flags.BoolVar(&f.send, "send", false, "really make this one attempt, or with --guard run the race")
	loader.Declare(flags, config.GroupCommon, config.GroupNATS, config.GroupAllow)
	return cmd
}

func (f testFlags) run(ctx context.Context, sh *Shell, loader *config.Loader, args []string) error {
	if inputs(f.file, f.data, f.answer) > 1 {
		return fmt.Errorf("%w: standard input is either the channels, the payload or the answer", errUsage)
	}
	if f.answer != "" && (f.guard || f.send) {
		return fmt.Errorf("%w: --answer sends nothing: give it without --send and --guard", errUsage)
	}
	if f.guard && (f.op != string(events.Upsert) || f.base != "") {
		return fmt.Errorf("%w: --guard takes neither --op nor --base: it sends versions of its own", errUsage)
	}
	key := "sample"
	if f.guard {
		key = fmt.Sprintf("%s%08x", guardrace.KeyPrefix, rand.Uint32())
	}
	if f.answer != "" && f.data == "" && f.op == string(events.Upsert) {
		f.data = "null" // it says nothing of the answer but by its digest
	}
	sample := append(slices.Clone(args), []string{"", key, "1"}[len(args):]...)
	u, err := f.update(sh.In, sample)
	if err != nil {
		return err
	}
	if f.source != "" {
		u.Source = f.source
	}
	if f.typ != "" {
		u.Type = f.typ
	}
	cfg, err := f.channel(ctx, sh, loader, args[0])
	if err != nil {
		return err
	}
	if f.answer != "" {
		return f.explain(ctx, sh, cfg, u)
	}
	settings, err := sh.Settings(loader)
	if err != nil {
		return err
	}
	env := operate.Env(&settings, cfg.Name)
	if f.guard {
		return f.race(ctx, sh, cfg, env, u)
	}
	report, err := f.try(ctx, cfg, env, u, f.send)
	if report == nil {
		return err
	}
	return errors.Join(err, writeTried(sh, report, "nothing was sent; --send makes this attempt"))
}

func (f testFlags) try(ctx context.Context, cfg channels.Config, env connectors.Env, u events.Update, send bool) (*tryout.Report, error) {
	return tryout.Run(ctx, kinds.All(), cfg, env, connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}, send)
}

// channel finds the channel in the file, or at the broker.
func (f testFlags) channel(ctx context.Context, sh *Shell, loader *config.Loader, name string) (channels.Config, error) {
	if f.file == "" {
		client, err := sh.Connect(ctx, loader)
		if err != nil {
			return channels.Config{}, err
		}
		defer client.Close()
		c, err := client.Channel(ctx, name)
		return c.Entry.Config, err
	}
	listed, err := ReadFile(sh.In, f.file)
	if err != nil {
		return channels.Config{}, err
	}
	i := slices.IndexFunc(listed.Channels, func(c channels.Config) bool { return c.Name == name })
	if i < 0 {
		return channels.Config{}, fmt.Errorf("%w: %s is not in %s", channels.ErrNotFound, name, f.file)
	}
	return listed.Channels[i], nil
}
