package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/tokens"
)

// TokensCommand returns the commands about API tokens.
func TokensCommand(sh *Shell) *cobra.Command {
	return Group("tokens", "Make, list and revoke tokens of the HTTP API", tokensCreate(sh), tokensList(sh), tokensRevoke(sh))
}

// withTokens runs a command on the tokens.
func (sh *Shell) withTokens(ctx context.Context, loader *config.Loader, do func(context.Context, *tokens.Store, *app.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	client, err := sh.Connect(ctx, loader)
	if err != nil {
		return err
	}
	defer client.Close()
	store, err := tokens.Open(ctx, client.JS, client.Names)
	if err != nil {
		return err
	}
	return do(ctx, store, client)
}

func tokensCreate(sh *Shell) *cobra.Command {
	var scopes, channels []string
	var rate float64
	var expires time.Duration
	var from string
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token and show it, once",
		Long: `Make a token and show it, once: only its hash is kept. From the first token on each
request needs one. A scope includes no other: publish, read, admin.

With --from-file it is not made: the file has the text of one that was made
before, here or at another broker. If this broker has it, nothing is changed.`,
		Example: `  extsync tokens create portal --scope publish,read --channel erp_db --expires 2160h
  extsync tokens create portal --scope publish,read --from-file /run/secrets/portal_token`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t := tokens.Token{Name: args[0], Channels: channels, Rate: rate}
			for _, s := range scopes {
				t.Scopes = append(t.Scopes, tokens.Scope(s))
			}
			if expires != 0 {
				t.Expires = time.Now().UTC().Add(expires).Truncate(time.Second)
			}
			return sh.withTokens(cmd.Context(), loader, func(ctx context.Context, store *tokens.Store, client *app.Client) error {
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
	cmd.Flags().StringSliceVar(&scopes, "scope", nil, "what it may do: publish, read, admin")
	cmd.Flags().StringSliceVar(&channels, "channel", nil, "limit it to these channels")
	cmd.Flags().Float64Var(&rate, "rate", tokens.DefaultRate, "requests (and lines of a batch) a second, at each instance")
	cmd.Flags().DurationVar(&expires, "expires", 0, "how long it is valid; 0 is for ever")
	cmd.Flags().StringVar(&from, "from-file", "", "file with the text of a token that was made before")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}

// adoptToken makes a token of which somebody has the text already known to the
// broker.
func (sh *Shell) adoptToken(ctx context.Context, store *tokens.Store, client *app.Client, t tokens.Token, file string) error {
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
secrets are not kept anywhere and cannot be shown again.`,
		Example: "  extsync tokens list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.withTokens(cmd.Context(), loader, func(ctx context.Context, store *tokens.Store, _ *app.Client) error {
				list, err := store.List(ctx)
				if err != nil {
					return err
				}
				return writeTokens(sh, list)
			})
		},
	}
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}

// tokenView is a token as list tells it.
type tokenView struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Scopes   []tokens.Scope `json:"scopes"`
	Channels []string       `json:"channels,omitempty"`
	Rate     float64        `json:"rate"`
	Created  time.Time      `json:"created"`
	Expires  time.Time      `json:"expires,omitzero"`
}

func writeTokens(sh *Shell, list []tokens.Token) error {
	views := make([]tokenView, len(list))
	rows := make([][]string, len(list))
	for i, t := range list {
		views[i] = tokenView{t.ID, t.Name, t.Scopes, t.Channels, t.Rate, t.Created, t.Expires}
		channels := "all"
		if len(t.Channels) > 0 {
			channels = strings.Join(t.Channels, ",")
		}
		rows[i] = []string{t.ID, t.Name, strings.Trim(fmt.Sprint(t.Scopes), "[]"), channels, fmt.Sprint(t.Rate), timeText(t.Created), timeText(t.Expires)}
	}
	if sh.JSON {
		return sh.WriteJSON(struct {
			Tokens []tokenView `json:"tokens"`
		}{views})
	}
	return writeTable(sh.Out, []string{"ID", "NAME", "SCOPES", "CHANNELS", "RATE", "CREATED", "EXPIRES"}, rows)
}

func tokensRevoke(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token; every instance knows within ten seconds",
		Long: `Revoke a token by its id, which list shows. To replace a token, create another one
first and give it to the service: both are valid until the old one is revoked.`,
		Example: "  extsync tokens revoke 0a1b2c3d4e5f",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.withTokens(cmd.Context(), loader, func(ctx context.Context, store *tokens.Store, client *app.Client) error {
				t, err := store.Get(ctx, args[0])
				if err != nil {
					return err
				}
				act := auditlog.Act{Action: "token.revoke", Target: "token " + t.Name, Before: t.Public()}
				err = client.Act(ctx, act, func(ctx context.Context) (any, error) {
					_, err := store.Revoke(ctx, t.ID)
					return nil, err
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
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}
