package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/events"
)

// TokensCommand returns the commands about API tokens.
func TokensCommand(sh *Shell) *cobra.Command {
	return Group("tokens", "Make, list and revoke tokens of the HTTP API", tokensKey(sh), tokensCreate(sh), tokensList(sh), tokensRevoke(sh))
}

// withTokens runs a command with the tokens that a key, or its public half, has
// signed.
func (sh *Shell) withTokens(ctx context.Context, loader *config.Loader, do func(context.Context, *tokens.Store, *operate.Client) error) error {
	return sh.withKey(ctx, loader, func(ctx context.Context, file string, client *operate.Client) error {
		keys, err := tokens.ReadKeys(file)
		if err != nil {
			return err
		}
		store, err := tokens.Open(ctx, client.JS, client.Names, keys)
		if err != nil {
			return err
		}
		return do(ctx, store, client)
	})
}

// withIssuer runs a command that signs.
func (sh *Shell) withIssuer(ctx context.Context, loader *config.Loader, do func(context.Context, *tokens.Issuer, *operate.Client) error) error {
	return sh.withKey(ctx, loader, func(ctx context.Context, file string, client *operate.Client) error {
		key, err := tokens.ReadAdminKey(file)
		if err != nil {
			return err
		}
		issuer, err := tokens.OpenIssuer(ctx, client.JS, client.Names, key)
		if err != nil {
			return err
		}
		return do(ctx, issuer, client)
	})
}

func (sh *Shell) withKey(ctx context.Context, loader *config.Loader, do func(ctx context.Context, file string, client *operate.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	cfg, err := sh.Settings(loader)
	if err != nil {
		return err
	}
	if cfg.AdminKey == "" {
		return fmt.Errorf("%w: give the administrators' key as --admin-key; 'extsync tokens key' makes one", errUsage)
	}
	client, err := sh.Connect(ctx, loader)
	if err != nil {
		return err
	}
	defer client.Close()
	return meant(ctx, client, do(ctx, cfg.AdminKey, client))
}

func tokensKey(sh *Shell) *cobra.Command {
	var out, public string
	cmd := &cobra.Command{
		Use:   "key --out FILE",
		Short: "Make the key that signs tokens",
		Long: `Make an administrator's key (Ed25519, PEM), and write its public half beside it. Who
has the key makes and revokes tokens ('extsync tokens create --admin-key FILE'); a
'publisher serve' gets the public half (--http-token-keys-file), and takes only what
the key has signed. A key that is there already stays.

To replace a key, make another one, append the old public half to both files, give
every instance the new public file, make the tokens anew, then take the old half out.
A key that others may have is replaced without that: all its tokens end with it.`,
		Example: "  extsync tokens key --out admin.key",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if out == "" {
				return fmt.Errorf("%w: give --out", errUsage)
			}
			if public == "" {
				public = out + ".pub"
			}
			made, err := tokens.MakeKey(out, public)
			if err != nil {
				return err
			}
			what := "was there before"
			if made {
				what = "made"
			}
			if sh.JSON {
				return sh.WriteJSON(struct {
					Key       string `json:"key_file"`
					PublicKey string `json:"public_key_file"`
					Made      bool   `json:"made"`
				}{out, public, made})
			}
			_, err = fmt.Fprintf(sh.Out, "%s: %s (--admin-key, for administrators only)\npublic half: %s (--http-token-keys-file)\n", what, out, public)
			return err
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file for the key")
	cmd.Flags().StringVar(&public, "public", "", "file for its public half (default: that of --out with .pub)")
	return cmd
}

func tokensCreate(sh *Shell) *cobra.Command {
	var scopes, channels, topics []string
	var rate float64
	var expires time.Duration
	var from string
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and show it, once",
		Long: `Make a token and show it, once: only its hash is kept, in a record that the
administrator's key signs. A scope includes no other: publish (updates), read (states,
errors and counts), payload (contents), operate (pause, replay, resync), configure
(channels and topics), admin (sessions, the list of tokens, doctor). The channels of
--channel and the topics of --topic must be there. A token that is limited
to some of either sees nothing of the others: one for a topic needs the channels, too,
whose outcomes it reads.

With --from-file it is not made: the file has the text of one that was made
before, here or at another broker. If this broker has it, nothing is changed.`,
		Example: `  extsync tokens create portal --admin-key admin.key --scope publish,read --channel erp_db --expires 90d
  extsync tokens create operator --admin-key admin.key --scope read,operate --expires 30d
  extsync tokens create portal --admin-key admin.key --scope publish,read --from-file /run/secrets/portal_token`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t := tokens.Token{Name: args[0], Channels: channels, Topics: topics, Rate: rate}
			for _, s := range scopes {
				t.Scopes = append(t.Scopes, tokens.Scope(s))
			}
			if expires != 0 {
				t.Expires = time.Now().UTC().Add(expires).Truncate(time.Second)
			}
			return sh.withIssuer(cmd.Context(), loader, func(ctx context.Context, store *tokens.Issuer, client *operate.Client) error {
				if err := checkChannels(ctx, client, t.Channels...); err != nil {
					return err
				}
				for _, topic := range t.Topics {
					if err := client.CheckRoute(ctx, events.ToTopic(topic)); err != nil {
						return err
					}
				}
				if from != "" {
					return sh.adoptToken(ctx, store, client, t, from)
				}
				text := ""
				act := auditlog.Act{Action: "token.create", Target: "token " + t.Name}
				err := client.Act(ctx, act, func(ctx context.Context) (any, error) {
					var err error
					t, text, err = store.Create(ctx, t)
					return t.Public(), err
				})
				if err != nil {
					return err
				}
				if sh.JSON {
					return sh.WriteJSON(struct {
						ID    string `json:"id"`
						Token string `json:"token"`
					}{t.ID, text})
				}
				_, err = io.WriteString(sh.Out, text+"\n")
				return err
			})
		},
	}
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "what it may do: publish, read, payload, operate, configure, admin")
	cmd.Flags().StringSliceVar(&channels, "channel", nil, "limit it to these channels")
	cmd.Flags().StringSliceVar(&topics, "topic", nil, "limit it to these topics")
	cmd.Flags().Float64Var(&rate, "rate", tokens.DefaultRate, "requests (and lines of a batch) a second, at each instance")
	durationVar(cmd.Flags(), &expires, "expires", 0, "how long it is valid; 0 is for ever")
	cmd.Flags().StringVar(&from, "from-file", "", "file with the text of a token that was made before")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupAdminKey)
	return cmd
}

// adoptToken makes a token of which somebody has the text already known to the
// broker.
func (sh *Shell) adoptToken(ctx context.Context, store *tokens.Issuer, client *operate.Client, t tokens.Token, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("--from-file: %w", err)
	}
	known, adopt, err := store.Adopt(ctx, t, string(text))
	if err != nil {
		return err
	}
	what := "was there before"
	if adopt != nil {
		what = "stored"
		act := auditlog.Act{Action: "token.create", Target: "token " + t.Name}
		err = client.Act(ctx, act, func(ctx context.Context) (any, error) {
			known, err = adopt(ctx)
			return known.Public(), err
		})
	}
	if err != nil {
		return err
	}
	if sh.JSON {
		return sh.WriteJSON(struct {
			ID string `json:"id"`
		}{known.ID})
	}
	_, err = fmt.Fprintf(sh.Out, "%s: %s (%s)\n", what, known.ID, clean(known.Name))
	return err
}

func tokensList(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without their secrets",
		Long: `List the tokens of the HTTP API with their scopes, channels and limits. Their
secrets are not kept anywhere and cannot be shown again. What the key has not signed
is no token and is only counted. The public half of the key is enough to list.`,
		Example: "  extsync tokens list --admin-key admin.key.pub",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.withTokens(cmd.Context(), loader, func(ctx context.Context, store *tokens.Store, _ *operate.Client) error {
				list, foreign, err := store.List(ctx)
				if err != nil {
					return err
				}
				return writeTokens(sh, list, foreign)
			})
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupAdminKey)
	return cmd
}

func writeTokens(sh *Shell, list []tokens.Token, foreign int) error {
	views := make([]tokens.View, len(list))
	rows := make([][]string, len(list))
	for i, t := range list {
		views[i] = t.View()
		channels := "all"
		if t.Limited() {
			limits := slices.Clone(t.Channels)
			for _, topic := range t.Topics {
				limits = append(limits, events.ToTopic(topic).ID())
			}
			channels = strings.Join(limits, ",")
		}
		rows[i] = []string{t.ID, t.Name, strings.Trim(fmt.Sprint(t.Scopes), "[]"), channels, fmt.Sprint(t.Rate), timeText(t.Created), timeText(t.Expires)}
	}
	if sh.JSON {
		return sh.WriteJSON(struct {
			Tokens  []tokens.View `json:"tokens"`
			Foreign int           `json:"foreign_records,omitempty"`
		}{views, foreign})
	}
	if foreign > 0 {
		if _, err := fmt.Fprintf(sh.Err, "%d records were not signed by this key; they do not count\n", foreign); err != nil {
			return err
		}
	}
	return writeTable(sh.Out, []string{"ID", "NAME", "SCOPES", "CHANNELS", "RATE", "CREATED", "EXPIRES"}, rows)
}

func tokensRevoke(sh *Shell) *cobra.Command {
	var unseen bool
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token; every instance knows within ten seconds",
		Long: `Revoke a token by its id, which list shows, for good. To replace a token, create
another one first and give it to the service: both are valid until the old one is
revoked.

After the broker's files were restored, revoke again what was revoked since the
backup; --unseen revokes ids that the restored broker does not know.`,
		Example: "  extsync tokens revoke 0a1b2c3d4e5f --admin-key admin.key",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.withIssuer(cmd.Context(), loader, func(ctx context.Context, issuer *tokens.Issuer, client *operate.Client) error {
				t, err := issuer.Get(ctx, args[0])
				if errors.Is(err, tokens.ErrNotFound) && unseen {
					t, err = tokens.Token{ID: args[0], Name: args[0]}, nil
				}
				if err != nil {
					return err
				}
				act := auditlog.Act{Action: "token.revoke", Target: "token " + t.Name, Before: t.Public()}
				err = client.Act(ctx, act, func(ctx context.Context) (any, error) {
					return nil, issuer.Revoke(ctx, t.ID, unseen)
				})
				if err != nil {
					return err
				}
				if sh.JSON {
					return sh.WriteJSON(struct {
						Revoked string `json:"revoked"`
					}{t.ID})
				}
				_, err = fmt.Fprintf(sh.Out, "revoked: %s (%s)\n", t.ID, clean(t.Name))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&unseen, "unseen", false, "revoke the id even if the broker does not know such a token")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS, config.GroupAdminKey)
	return cmd
}
