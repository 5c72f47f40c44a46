package app

import (
	"context"
	"fmt"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// logins are what the API needs for people who log in.
type logins struct {
	store    *sessions.Store
	keys     sessions.Keys
	provider *sessions.Provider // nil: there is none, or administrators ask it
}

// openLogins reads the key and what the broker knows of logins. An instance that
// administers makes logins, a gateway only tells those that administrators have made.
func openLogins(ctx context.Context, c *operate.Client, o PublisherOptions, administering bool) (logins, error) {
	var out logins
	h := &o.Config.HTTP
	err := c.Refusals.Do(ctx, broker.Anything, func(ctx context.Context) (err error) {
		out.store, err = sessions.OpenStore(ctx, c.JS, c.Names)
		return err
	})
	if err != nil || h.TokenKeysFile == "" { // nobody needs to log in
		return out, err
	}
	if h.SessionKeyFile != "" {
		signers, err := tokens.ReadKeys(h.TokenKeysFile)
		if err == nil {
			out.keys, err = sessions.ReadKeys(h.SessionKeyFile, signers)
		}
		if err != nil {
			return out, fmt.Errorf("http.session_key_file: %w", err)
		}
	}
	switch {
	case administering && h.SessionKeyFile == "":
		if out.keys, err = sessions.NewKeys(); err != nil {
			return out, err
		}
	case administering && !out.keys.Signs():
		return out, fmt.Errorf("%w: http.session_key_file: it holds a public half, and this instance is no gateway: it makes the logins itself", connectors.ErrConfig)
	case !administering && out.keys.Signs():
		return out, fmt.Errorf("%w: http.session_key_file: a gateway needs the public half only: with the key itself, whoever takes it over logs in as anybody", connectors.ErrConfig)
	}
	if administering && h.OIDC.Issuer != "" {
		out.provider, err = sessions.NewProvider(h.OIDC, out.keys)
	}
	return out, err
}
