package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/transform"
)

const testHelp = `Show what a channel would send for a sample update: whether its filter lets the
update pass, the payload after its mapping, and the request or the statement.
Nothing is sent, stored or acked, and secrets are shown as ***.

CHANNEL is taken from the broker, or from the file given with -f, which needs no
broker. KEY is "sample" and VERSION is 1 unless given.

With --send this one attempt is really made, past the queue and the ledger, with
the secrets of this machine. The target may keep what it gets: use a key that
is nobody's.`

const testExample = `  extsync channels test erp_db --data @policy.json
  extsync channels test erp_db -f channels.yaml p-2023-vax 7 --data '{"content":"x"}' --json
  extsync channels test erp_db test-key 1 --data '{"content":"x"}' --send`

// errTestFailed says that a sample update did not get through.
var errTestFailed = errors.New("the sample update fails")

type testFlags struct {
	pushFlags
	file, source, typ string
	send              bool
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
	flags.BoolVar(&f.send, "send", false, "really make this one attempt")
	loader.Declare(flags, config.GroupCommon, config.GroupNATS)
	return cmd
}

func (f testFlags) run(ctx context.Context, sh *Shell, loader *config.Loader, args []string) error {
	if f.file == "-" && f.data == "-" {
		return fmt.Errorf("%w: standard input is either the channels or the payload", errUsage)
	}
	sample := append(slices.Clone(args), []string{"", "sample", "1"}[len(args):]...)
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
	doc, err := f.try(ctx, cfg, connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1})
	if doc == nil {
		return err
	}
	return errors.Join(err, doc.write(sh))
}

// channel finds the channel in the file, or at the broker.
func (f testFlags) channel(ctx context.Context, sh *Shell, loader *config.Loader, name string) (channels.Config, error) {
	if f.file == "" {
		client, err := sh.Connect(ctx, loader)
		if err != nil {
			return channels.Config{}, err
		}
		defer client.Close()
		entry, err := getChannel(ctx, client, name)
		return entry.Config, err
	}
	configs, err := ReadChannels(sh.In, f.file)
	if err != nil {
		return channels.Config{}, err
	}
	i := slices.IndexFunc(configs, func(c channels.Config) bool { return c.Name == name })
	if i < 0 {
		return channels.Config{}, fmt.Errorf("%w: %s is not in %s", channels.ErrNotFound, name, f.file)
	}
	return configs[i], channels.ValidateAll(configs[i:i+1], app.Catalog())
}

// try does with one attempt what a worker would do, up to the sending unless
// asked to send. The document is nil if it could not begin.
func (f testFlags) try(ctx context.Context, cfg channels.Config, a connectors.Attempt) (*tested, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout.D())
	defer cancel()
	doc := &tested{Channel: cfg.Name, Key: a.Key, Version: a.Version, Op: a.Op, Decision: decisionSend}
	tr, err := transform.New(cfg.Filter, cfg.Mapping)
	if err != nil {
		return nil, err
	}
	a, send, res := tr.Apply(ctx, a)
	switch {
	case !send && res.Class == connectors.OK:
		doc.Decision = decisionFiltered
		return doc, nil
	case !send:
		doc.Decision = decisionFailed
		doc.Error = &events.Failure{Class: res.Class.String(), Code: res.Code, Message: res.Err.Error()}
		return doc, fmt.Errorf("%w: %w", errTestFailed, res.Err)
	}
	doc.Payload = readable(a.Payload)
	conn, err := f.open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	err = f.show(ctx, conn, a, doc)
	// The target has what it got, and the document says so, however this ends.
	_ = conn.Close(context.WithoutCancel(ctx))
	return doc, err
}

func (f testFlags) open(ctx context.Context, cfg channels.Config) (connectors.Connector, error) {
	kind, err := app.Catalog().Kind(cfg.Connector.Kind)
	if err != nil {
		return nil, err
	}
	env := connectors.Env{Channel: cfg.Name, Concurrency: 1, Timeout: cfg.Timeout.D(), Logger: zerolog.Nop()}
	if !f.send {
		env.Secrets = placeholders()
	}
	conn, err := kind.Open(ctx, env, cfg.Connector.Config)
	if err != nil {
		return nil, fmt.Errorf("channel %s: %w", cfg.Name, err)
	}
	return conn, nil
}

// placeholders stand in for the secrets that are not on this machine: a preview
// does not show them anyway.
func placeholders() connectors.Secrets {
	return connectors.Secrets{
		LookupEnv: func(name string) (string, bool) {
			if v := os.Getenv(name); v != "" {
				return v, true
			}
			return "secret", true
		},
		ReadFile: func(path string) ([]byte, error) {
			text, err := connectors.Secrets{}.Resolve(connectors.Ref("${file:" + path + "}"))
			if err != nil {
				return []byte("secret"), nil
			}
			return []byte(text), nil
		},
	}
}

func (f testFlags) show(ctx context.Context, conn connectors.Connector, a connectors.Attempt, doc *tested) error {
	if p, ok := conn.(connectors.Previewer); ok {
		preview, err := p.Preview(ctx, a)
		if err != nil {
			doc.Decision = decisionFailed
			doc.Error = &events.Failure{Class: connectors.ClassOf(err).String(), Message: err.Error()}
			return fmt.Errorf("%w: %w", errTestFailed, err)
		}
		doc.Preview, doc.Body = &preview, readable(preview.Body)
	}
	if !f.send {
		return nil
	}
	results := conn.Apply(ctx, []connectors.Attempt{a})
	if len(results) != 1 {
		return fmt.Errorf("%w: the connector gave %d results", errTestFailed, len(results))
	}
	res := results[0]
	doc.Result = &testResult{Class: res.Class.String(), Code: res.Code, Held: res.Held.Version, Response: res.Response}
	if res.Err == nil {
		return nil
	}
	doc.Result.Error = res.Err.Error()
	return fmt.Errorf("%w: %s%s", errTestFailed, res.Class, reason(res.Code, res.Err.Error()))
}
