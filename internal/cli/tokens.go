package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/tokens"
)

// TokensCommand returns the commands about API tokens.
func TokensCommand(sh *Shell) *cobra.Command {
	return Group("tokens", "Make, list and revoke tokens of the HTTP API", tokensCreate(sh), tokensList(sh), tokensRevoke(sh))
}

// commandActor is who is named in the audit log for what a command does: the
// broker knows no person.
const commandActor = "command"

// withTokens runs a command on the tokens, and the audit log.
func (sh *Shell) withTokens(ctx context.Context, loader *config.Loader, do func(context.Context, *tokens.Store, *auditlog.Log) error) error {
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
	return do(ctx, store, auditlog.Open(client.JS, client.Names))
}

func tokensCreate(sh *Shell) *cobra.Command {
	var scopes, channels []string
	var rate float64
	var expires time.Duration
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Make a token and show it, once",
		Example: "  extsync tokens create portal --scope publish,read --channel erp_db --expires 2160h",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t := tokens.Token{Name: args[0], Channels: channels, Rate: rate}
			for _, s := range scopes {
				t.Scopes = append(t.Scopes, tokens.Scope(s))
			}
			if expires != 0 {
				t.Expires = time.Now().UTC().Add(expires).Truncate(time.Second)
			}
			return sh.withTokens(cmd.Context(), loader, func(ctx context.Context, store *tokens.Store, log *auditlog.Log) error {
				text := ""
				act := auditlog.Act{Actor: commandActor, Action: "token.create", Target: "token " + t.Name}
				err := log.Do(ctx, act, func(ctx context.Context) (any, error) {
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
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}

func tokensList(sh *Shell) *cobra.Command {
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the tokens, without their secrets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return sh.withTokens(cmd.Context(), loader, func(ctx context.Context, store *tokens.Store, _ *auditlog.Log) error {
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
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return sh.withTokens(cmd.Context(), loader, func(ctx context.Context, store *tokens.Store, log *auditlog.Log) error {
				t, err := store.Get(ctx, args[0])
				if err != nil {
					return err
				}
				act := auditlog.Act{Actor: commandActor, Action: "token.revoke", Target: "token " + t.Name, Before: t.Public()}
				err = log.Do(ctx, act, func(ctx context.Context) (any, error) {
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
