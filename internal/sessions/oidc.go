package sessions

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"github.com/hms-utl/extsync/pkg/connectors"
)

const (
	// LoginAge is how long somebody may take at the provider.
	LoginAge = 10 * time.Minute

	providerTimeout = 10 * time.Second
	maxAnswer       = 1 << 20
	// failedFor is for how long nobody asks a provider again that could not be asked.
	failedFor = 3 * time.Second
	maxGroups = 10_000
	maxClaim  = 256
)

// OIDC says where people log in.
type OIDC struct {
	// Issuer is the provider's URL, as its tokens name it. "" is none.
	Issuer   string `yaml:"issuer"`
	ClientID string `yaml:"client_id"`
	// ClientSecretFile holds the secret; "" for a public client.
	ClientSecretFile string `yaml:"client_secret_file"`
	// RedirectURL is where people reach /v1/session/oidc/callback.
	RedirectURL string `yaml:"redirect_url"`
	// Name is what people are shown. Defaults to the issuer's host.
	Name string `yaml:"name"`
	// Scopes to ask for, beside openid. Defaults to profile, email and groups.
	Scopes connectors.List `yaml:"scopes"`
	// GroupsClaim is the claim that lists groups. Defaults to groups.
	GroupsClaim string `yaml:"groups_claim"`
	// Groups are what groups may do.
	Groups Groups `yaml:"groups"`
}

// Errors of a login by OIDC.
var (
	// ErrLogin says that a login cannot be finished.
	ErrLogin = errors.New("the login cannot be finished")
	// ErrProvider says that the provider cannot be asked, or does not answer as it should.
	ErrProvider = errors.New("the login provider")
	// ErrNoGroup says that somebody is in no group that has rights.
	ErrNoGroup = errors.New("you are in no group that has rights here")
)

// A Provider logs people in. It is safe for concurrent use.
type Provider struct {
	settings OIDC
	secret   string
	keys     Keys
	client   *http.Client

	asking   singleflight.Group
	mu       sync.Mutex
	provider *oidc.Provider
	failed   error // why it could not be asked, until again
	again    time.Time
}

// NewProvider returns the provider of some settings, which it asks when somebody logs in.
// The error wraps connectors.ErrConfig.
func NewProvider(settings OIDC, keys Keys) (*Provider, error) {
	p := &Provider{settings: settings, keys: keys, client: &http.Client{
		Timeout: providerTimeout, Transport: bounded{http.DefaultTransport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if settings.ClientSecretFile != "" {
		data, err := os.ReadFile(settings.ClientSecretFile)
		if err != nil {
			return nil, fmt.Errorf("%w: http.oidc.client_secret_file: %w", connectors.ErrConfig, err)
		}
		p.secret = strings.TrimSpace(string(data))
	}
	return p, nil
}

// bounded cuts answers that are too large.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// pending is what must be known when somebody comes back. It is in a cookie: so they come
// back in the browser in which they have left.
type pending struct {
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	To       string    `json:"to"`
	Expires  time.Time `json:"expires"`
}

// Start returns where to send somebody who wants to log in and then go to a place, and
// what the cookie holds until they come back.
func (p *Provider) Start(ctx context.Context, to string) (location, cookie string, err error) {
	config, _, err := p.config(ctx)
	if err != nil {
		return "", "", err
	}
	login := pending{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), To: to, Expires: time.Now().Add(LoginAge)}
	if cookie, err = p.keys.seal(kindLogin, login); err != nil {
		return "", "", err
	}
	return config.AuthCodeURL(login.State, oidc.Nonce(login.Nonce), oauth2.S256ChallengeOption(login.Verifier)), cookie, nil
}

// Finish returns the login of somebody who has come back, and where they want to go. The
// error wraps ErrLogin, ErrProvider or ErrNoGroup.
func (p *Provider) Finish(ctx context.Context, cookie, state, code string) (login Session, to string, err error) {
	var began pending
	if !p.keys.open(kindLogin, cookie, &began) || began.State == "" || !time.Now().Before(began.Expires) ||
		subtle.ConstantTimeCompare([]byte(began.State), []byte(state)) != 1 {
		return Session{}, "", fmt.Errorf("%w: it was begun in another browser, or too long ago; log in again", ErrLogin)
	}
	config, provider, err := p.config(ctx)
	if err != nil {
		return Session{}, "", err
	}
	ctx = oidc.ClientContext(ctx, p.client)
	answer, err := config.Exchange(ctx, code, oauth2.VerifierOption(began.Verifier))
	if err != nil {
		return Session{}, "", fmt.Errorf("%w does not take the code: %w", ErrProvider, unsaid(err))
	}
	raw, _ := answer.Extra("id_token").(string)
	token, err := provider.Verifier(&oidc.Config{ClientID: p.settings.ClientID}).Verify(ctx, raw)
	if err != nil {
		return Session{}, "", fmt.Errorf("%w gives no valid token of who you are", ErrProvider) // the cause may quote it
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(began.Nonce)) != 1 {
		return Session{}, "", fmt.Errorf("%w: the provider answers another login", ErrLogin)
	}
	claims := map[string]any{}
	if err := token.Claims(&claims); err != nil {
		return Session{}, "", fmt.Errorf("%w gives claims that cannot be read", ErrProvider)
	}
	if _, ok := claims[p.groupsClaim()]; !ok && provider.UserInfoEndpoint() != "" { // some tell it there only
		info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(answer))
		more := map[string]any{}
		if err != nil || info.Subject != token.Subject || info.Claims(&more) != nil {
			return Session{}, "", fmt.Errorf("%w does not say who you are", ErrProvider)
		}
		for name, value := range more {
			if _, ok := claims[name]; !ok {
				claims[name] = value
			}
		}
	}
	login = Session{Issuer: token.Issuer, Subject: token.Subject, Name: nameOf(claims, token.Subject), Groups: p.settings.Groups.Known(groupsOf(claims[p.groupsClaim()]))}
	if len(login.Groups) == 0 {
		return Session{}, "", ErrNoGroup
	}
	return login, began.To, nil
}

// unsaid leaves of an error of the token endpoint what is no secret: its body may hold
// tokens, its address a code.
func unsaid(err error) error {
	var e *oauth2.RetrieveError
	if errors.As(err, &e) && e.ErrorCode != "" && len(e.ErrorCode) <= maxClaim {
		return fmt.Errorf("%q", e.ErrorCode)
	}
	return errors.New("it does not answer as it should")
}

// known returns the provider if it has been asked, or why it could not be asked a moment ago.
func (p *Provider) known() (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.provider == nil && time.Now().Before(p.again) {
		return nil, p.failed
	}
	return p.provider, nil
}

// discover asks the provider what there is to know of it: once, for all who wait for it.
func (p *Provider) discover(ctx context.Context) (*oidc.Provider, error) {
	if provider, err := p.known(); provider != nil || err != nil {
		return provider, err
	}
	answer := p.asking.DoChan("", func() (any, error) {
		if provider, err := p.known(); provider != nil || err != nil {
			return provider, err
		}
		// The provider keeps the context for later requests, but for its end.
		provider, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), p.client), p.settings.Issuer)
		if err != nil {
			err = fmt.Errorf("%w cannot be asked: %w", ErrProvider, err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.provider, p.failed, p.again = provider, err, time.Now().Add(failedFor)
		return provider, err
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%w does not answer: %w", ErrProvider, ctx.Err())
	case r := <-answer:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*oidc.Provider), nil //nolint:forcetypeassert // it is what was asked for
	}
}

// config returns what to ask the provider with. The first time, it asks the provider for it.
func (p *Provider) config(ctx context.Context) (*oauth2.Config, *oidc.Provider, error) {
	provider, err := p.discover(ctx)
	if err != nil {
		return nil, nil, err
	}
	scopes := []string(p.settings.Scopes)
	if len(scopes) == 0 {
		scopes = []string{"profile", "email", "groups"}
	}
	return &oauth2.Config{
		ClientID: p.settings.ClientID, ClientSecret: p.secret, Endpoint: provider.Endpoint(),
		RedirectURL: p.settings.RedirectURL, Scopes: append([]string{oidc.ScopeOpenID}, scopes...),
	}, provider, nil
}

func (p *Provider) groupsClaim() string {
	if p.settings.GroupsClaim == "" {
		return "groups"
	}
	return p.settings.GroupsClaim
}

// nameOf returns what people call somebody. It is not what they are known by: they may
// choose some of it.
func nameOf(claims map[string]any, subject string) string {
	for _, name := range []string{"preferred_username", "email", "name"} {
		if text, _ := claims[name].(string); text != "" && len(text) <= maxClaim {
			return text
		}
	}
	return subject[:min(len(subject), maxClaim)]
}

// groupsOf reads a claim that lists groups, or is one.
func groupsOf(claim any) (groups []string) {
	switch v := claim.(type) {
	case string:
		groups = []string{v}
	case []any:
		for _, one := range v[:min(len(v), maxGroups)] {
			if text, ok := one.(string); ok {
				groups = append(groups, text)
			}
		}
	}
	return slices.DeleteFunc(groups, func(g string) bool { return g == "" || len(g) > maxClaim })
}
