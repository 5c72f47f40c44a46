package connhttp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// expiryMargin is how long before its end a token is no longer used.
const expiryMargin = 10 * time.Second

// codeOAuth2 is the code of everything that the token endpoint is to blame for.
const codeOAuth2 = "oauth2"

type oauthConfig struct{ clientcredentials.Config }

func resolveOAuth2(c OAuth2, s *connkit.Secrets) *oauthConfig {
	o := &oauthConfig{clientcredentials.Config{
		TokenURL:       s.URL("auth.oauth2.token_url", c.TokenURL),
		ClientID:       c.ClientID,
		ClientSecret:   s.Text("auth.oauth2.client_secret", c.ClientSecret),
		Scopes:         c.Scopes,
		EndpointParams: url.Values{},
		AuthStyle:      oauth2.AuthStyleInHeader,
	}}
	if c.Style == styleBody {
		o.AuthStyle = oauth2.AuthStyleInParams
	}
	for _, name := range slices.Sorted(maps.Keys(c.Params)) {
		o.EndpointParams.Set(name, s.Text("auth.oauth2.params."+name, c.Params[name]))
	}
	return o
}

// tokens keeps the token of one client. It is safe for concurrent use.
type tokens struct {
	config   *oauthConfig
	client   *http.Client
	now      func() time.Time
	scrubber *connectors.Scrubber
	// turn is held while a token is fetched: one fetch serves all. It is a
	// channel, so that waiting ends with the caller's ctx.
	turn chan struct{}

	mu    sync.Mutex
	token *oauth2.Token
}

func newTokens(c *oauthConfig, t http.RoundTripper, now func() time.Time, scrubber *connectors.Scrubber) *tokens {
	client := &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &tokens{config: c, client: client, now: now, scrubber: scrubber, turn: make(chan struct{}, 1)}
}

// get returns a token, and whether it was fetched by this call.
func (t *tokens) get(ctx context.Context) (token string, fresh bool, err error) {
	if token, ok := t.kept(); ok {
		return token, false, nil
	}
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
	defer func() { <-t.turn }()
	if token, ok := t.kept(); ok { // by whoever had the turn before
		return token, false, nil
	}
	got, err := t.config.Token(context.WithValue(ctx, oauth2.HTTPClient, t.client))
	if err != nil {
		return "", false, err
	}
	if !httpkit.ValidHeaderValue(got.AccessToken) {
		return "", false, errors.New("the token cannot be sent in a header")
	}
	t.scrubber.AddToken(got.AccessToken)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.token = got
	return got.AccessToken, true, nil
}

func (t *tokens) kept() (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == nil || !t.token.Expiry.IsZero() && !t.now().Add(expiryMargin).Before(t.token.Expiry) {
		return "", false
	}
	return t.token.AccessToken, true
}

// drop forgets a token that the target refused, unless it has been replaced
// already.
func (t *tokens) drop(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token != nil && t.token.AccessToken == token {
		t.token = nil
	}
}

// tokenFailed is the result of an attempt that got no token.
func (c *connector) tokenFailed(parent, ctx context.Context, err error) connectors.Result {
	if ctx.Err() != nil {
		return c.failed(parent, ctx, "token endpoint", err)
	}
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response != nil {
		// The error's own text has the whole answer in it.
		status := refused.Response.StatusCode
		class := connectors.Transient
		switch httpkit.ClassOf(status, false) {
		case connectors.Misconfigured, connectors.Permanent, connectors.Conflict, connectors.Unready:
			class = connectors.Misconfigured
		}
		return connectors.Failed(class, codeOAuth2, fmt.Errorf("token endpoint answered %d %s%s",
			status, http.StatusText(status), knownOAuthError(refused.ErrorCode)))
	}
	res := c.failed(parent, ctx, "token endpoint", err)
	res.Code = codeOAuth2
	return res
}

// knownOAuthError returns an error code of RFC 6749 for the message, "" for
// anything else a server may say.
func knownOAuthError(code string) string {
	for _, known := range []string{
		"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
	} {
		if code == known {
			return ", " + known
		}
	}
	return ""
}
