package app

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/httpapi"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/telemetry"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// PublisherOptions say how to run the HTTP API.
type PublisherOptions struct {
	Config  config.Config
	Logger  zerolog.Logger
	Version string
	// Ready, if not nil, is called once with the address, when it is served.
	Ready func(url string)
	// Door, if not nil, is what every request passes before the API.
	Door func(api http.Handler) http.Handler
}

// RunPublisher is the publisher: it connects and serves the HTTP API until ctx
// ends, then answers what it has accepted and returns nil. A broker that is not
// there at the start, or not provisioned, is an error; one that goes away later is
// waited for.
func RunPublisher(ctx context.Context, o PublisherOptions) error {
	return withClient(ctx, o.Config, o.Logger, operate.Connect, func(c *operate.Client) error { return Serve(ctx, c, o) })
}

// Serve serves the HTTP API on a client's connection, as RunPublisher does.
func Serve(ctx context.Context, c *operate.Client, o PublisherOptions) error {
	if err := checkListen(o); err != nil {
		return err
	}
	administering, err := administers(ctx, c)
	if err != nil {
		return err
	}
	cache, err := readTokens(ctx, c, o)
	if err != nil {
		return err
	}
	tracing, err := telemetry.StartTracing(ctx, "publisher", os.Getenv, o.Logger)
	if err != nil {
		return err
	}
	defer func() {
		if err := tracing.Close(context.WithoutCancel(ctx)); err != nil {
			o.Logger.Warn().Err(err).Msg("traces")
		}
	}()
	// First of all: what is opened in a newer one than is watched for ends at once.
	incarnation, err := wire.ReadIncarnation(ctx, c.JS, c.Names)
	if err != nil {
		return err
	}
	logins, err := openLogins(ctx, c, o, administering)
	if err != nil {
		return err
	}
	var handler http.Handler
	var keep func(context.Context)
	err = c.Refusals.Do(ctx, broker.Anything, func(opening context.Context) error {
		handler, keep, err = api(opening, ctx, c, o, cache, logins, tracing, administering)
		return err
	})
	if err != nil {
		return err
	}
	handler = tracing.Middleware(handler, func(r *http.Request) string { return r.Method + " " + r.Pattern })
	stopAnswering := func(context.Context) {}
	if administering && cache.Required() { // without a key it could not tell who asks
		if stopAnswering, err = answerGateways(c, handler, o.Logger); err != nil {
			return err
		}
	}
	listener, err := listen(ctx, o)
	if err != nil {
		stopAnswering(ctx)
		return err
	}
	if o.Door != nil {
		handler = o.Door(handler)
	}
	server := httpapi.NewHTTPServer(handler)
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var group errgroup.Group
	group.Go(func() error { cache.Keep(background); return nil })
	group.Go(func() error { keep(background); return nil })
	group.Go(func() error { logins.store.Keep(background); return nil })
	if administering {
		if err := runJobs(background, c, &group, o); err != nil {
			stop()
			stopAnswering(ctx)
			return errors.Join(err, listener.Close(), group.Wait())
		}
	}
	restored := make(chan error, 1)
	group.Go(func() error {
		restored <- watchIncarnation(background, c, incarnation)
		return nil
	})
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	o.Logger.Info().Str("address", address(o, listener)).Bool("tokens", cache.Required()).Bool("administers", administering).Msg("publisher started")
	if o.Ready != nil {
		o.Ready(address(o, listener))
	}
	var changed error
	select {
	case <-ctx.Done():
	case changed = <-restored:
	}
	drain, cancel := context.WithTimeout(background, o.Config.HTTP.DrainTimeout.D())
	defer cancel()
	var answered sync.WaitGroup
	answered.Go(func() { stopAnswering(drain) })
	if err := server.Shutdown(drain); err != nil {
		o.Logger.Warn().Err(err).Msg("requests were cut off")
		_ = server.Close() // what is left did not end in time
	}
	answered.Wait()
	stop()
	err = errors.Join(changed, group.Wait())
	o.Logger.Info().Msg("publisher stopped")
	return err
}

func address(o PublisherOptions, l net.Listener) string {
	if o.Config.HTTP.CertFile != "" {
		return "https://" + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}

// readTokens reads the tokens that the configured keys have signed.
func readTokens(ctx context.Context, c *operate.Client, o PublisherOptions) (*tokens.Cache, error) {
	if o.Config.HTTP.TokenKeysFile == "" {
		return tokens.NoTokens(), nil
	}
	keys, err := tokens.ReadKeys(o.Config.HTTP.TokenKeysFile)
	if err != nil {
		return nil, fmt.Errorf("http.token_keys_file: %w", err)
	}
	var cache *tokens.Cache
	err = c.Refusals.Do(ctx, broker.Anything, func(ctx context.Context) error {
		store, err := tokens.Open(ctx, c.JS, c.Names, keys)
		if err != nil {
			return err
		}
		cache, err = tokens.NewCache(ctx, store)
		return err
	})
	if err != nil {
		return nil, err
	}
	if n := cache.Foreign(); n > 0 {
		o.Logger.Warn().Int("records", n).Msg("the broker holds records of tokens that none of the keys has signed; they do not count")
	}
	return cache, nil
}

// checkListen refuses to be open to a network without tokens.
func checkListen(o PublisherOptions) error {
	host, _, err := net.SplitHostPort(o.Config.HTTP.Listen)
	ip := net.ParseIP(host)
	switch {
	case err != nil:
		return fmt.Errorf("%w: http.listen: %w", connectors.ErrConfig, err)
	case host == "localhost" || ip != nil && ip.IsLoopback():
		if o.Config.HTTP.TokenKeysFile == "" {
			o.Logger.Warn().Msg("tokens are not asked for: everybody on this machine may use the API; --http-token-keys-file asks for them")
		}
	case o.Config.HTTP.TokenKeysFile == "":
		return fmt.Errorf("%w: http.listen: %s is not loopback, and no tokens are asked for; make a key with 'extsync tokens key' and give its public half as --http-token-keys-file", connectors.ErrConfig, o.Config.HTTP.Listen)
	case o.Config.HTTP.CertFile == "":
		o.Logger.Warn().Msg("tokens travel in the clear: set http.cert_file, unless something in front of this does TLS")
	}
	return nil
}

func listen(ctx context.Context, o PublisherOptions) (net.Listener, error) {
	h := o.Config.HTTP
	var tlsConfig *tls.Config
	if h.CertFile != "" {
		cert, err := httpapi.LoadCertificate(h.CertFile, h.KeyFile, o.Logger)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", connectors.ErrConfig, err)
		}
		tlsConfig = cert.Config()
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", h.Listen)
	if err != nil {
		return nil, fmt.Errorf("%w: http.listen: %w; stop what uses %s or choose another with --http-listen (port 0 takes a free one)", connectors.ErrConfig, err, h.Listen)
	}
	if tlsConfig != nil {
		tlsConfig.NextProtos = []string{"http/1.1"}
		l = tls.NewListener(l, tlsConfig)
	}
	return l, nil
}

// api opens what the API works with. draining ends when the process shall end.
func api(ctx, draining context.Context, c *operate.Client, o PublisherOptions, cache *tokens.Cache, logins logins, tracing *telemetry.Tracing, administers bool) (http.Handler, func(context.Context), error) {
	publisher, err := c.PromptPublisher(ctx)
	if err != nil {
		return nil, nil, err
	}
	keeping, err := c.Keeping(ctx)
	if err != nil {
		return nil, nil, err
	}
	metrics := telemetry.NewRegistry()
	counters := telemetry.NewPublisherMetrics(metrics)
	measured := telemetry.NewPublisher(publisher, counters, tracing)
	everything := telemetry.MetricsHandler(metrics)
	return httpapi.New(ctx, httpapi.Options{
		Client: keeping, Publisher: measured, Tokens: cache, Forward: !administers,
		Sessions: logins.store, SessionKeys: logins.keys, OIDC: o.Config.HTTP.OIDC, Provider: logins.provider,
		Place: cmp.Or(o.Config.HTTP.Console.Place, o.Config.Prefix), Logger: o.Logger, Version: o.Version, Draining: draining, TokenRefused: counters.TokenRefused,
		Metrics: func(allows func(string) bool) http.Handler {
			if allows == nil {
				return everything
			}
			return telemetry.ChannelMetricsHandler(metrics, allows)
		},
	})
}

// incarnationLook is how often a process that serves looks at the incarnation.
const incarnationLook = 2 * time.Second

// watchIncarnation returns events.ErrIncarnation when the installation gets another
// incarnation than it had, and nil when ctx ends.
func watchIncarnation(ctx context.Context, c *operate.Client, had wire.Incarnation) error {
	tick := time.NewTicker(incarnationLook)
	defer tick.Stop()
	for {
		if err := wire.CheckIncarnation(ctx, c.JS, c.Names, had); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
