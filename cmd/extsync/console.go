package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/cli"
	"github.com/hms-utl/extsync/internal/config"
)

const consoleHelp = `Serve the console on this machine, with your own rights at the broker: which system
holds which version, and why not the newest; and what one does about it.

The address that it prints holds a secret of this run: whoever has it acts as you
until you end the command with Ctrl-C. Others on this machine who know only the port are
refused. 'publisher serve' has the console too, at /console/, for people with tokens
or an account at an OpenID provider.`

func consoleCommand(sh *cli.Shell) *cobra.Command {
	var port uint16
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "console",
		Short: "Serve the console on this machine, with your own rights",
		Long:  consoleHelp,
		Example: `  extsync console
  extsync console --context production --port 8090`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := sh.Settings(loader)
			if err != nil {
				return err
			}
			return serveConsole(cmd.Context(), sh, cfg, port)
		},
	}
	cmd.Flags().Uint16Var(&port, "port", 0, "port on 127.0.0.1; 0 takes a free one")
	loader.Declare(cmd.Flags(), config.GroupCommon, config.GroupNATS)
	return cmd
}

// serveConsole serves the API and its console until ctx ends. The settings of a publisher do
// not count: it is for whoever runs it, on loopback.
func serveConsole(ctx context.Context, sh *cli.Shell, cfg config.Config, port uint16) error {
	cfg.HTTP = config.Default().HTTP
	cfg.HTTP.Listen = net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	secret := rand.Text()
	return app.RunPublisher(ctx, app.PublisherOptions{
		Config: cfg, Logger: sh.Logger(cfg.Log, zerolog.ErrorLevel), Version: cli.Version(),
		Door: func(api http.Handler) http.Handler { return door(secret, api) },
		Ready: func(url string) {
			address := url + openPath + "?key=" + secret
			text := "The console is at " + address + "\nCtrl-C ends it.\n"
			if sh.JSON {
				_ = sh.WriteJSON(map[string]string{"url": address}) // whoever cannot read it ends the command
				return
			}
			_, _ = io.WriteString(sh.Out, text) // likewise
		},
	})
}

const (
	openPath   = "/open"
	doorCookie = "extsync_console"
)

// door lets in whoever has come by the address that the command has printed: other users of
// this machine reach the port, too. Whoever opens it gets a cookie for this run.
func door(secret string, api http.Handler) http.Handler {
	want := sha256.Sum256([]byte(secret))
	pass := rand.Text() // another one: what opens the door is not sent with each request
	let := sha256.Sum256([]byte(pass))
	matches := func(text string, want [sha256.Size]byte) bool {
		got := sha256.Sum256([]byte(text))
		return subtle.ConstantTimeCompare(got[:], want[:]) == 1
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == openPath && matches(r.URL.Query().Get("key"), want) {
			http.SetCookie(w, &http.Cookie{Name: doorCookie, Value: pass, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}) //nolint:gosec // plain HTTP on loopback
			w.Header().Set("Referrer-Policy", "no-referrer")
			w.Header().Set("Location", "/console/")
			w.WriteHeader(http.StatusSeeOther)
			return
		}
		if c, err := r.Cookie(doorCookie); err == nil && matches(c.Value, let) {
			api.ServeHTTP(w, r)
			return
		}
		http.Error(w, "Open the address that 'extsync console' has printed: it holds the secret of this run.", http.StatusForbidden)
	})
}
