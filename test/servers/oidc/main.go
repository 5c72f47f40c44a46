// Oidc is a real OpenID Connect provider, for tests. It serves at the address that it is
// given, to one client, "extsync" with the secret "secret", which is at the redirect URL
// that it is given. test-user@127.0.0.1 is in the groups operators and staff, test-user2 in
// others; their password is "verysecure". Groups are told by the userinfo endpoint only.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: oidc ADDRESS REDIRECT_URL")
	}
	storage.RegisterClients(storage.WebClient("extsync", "secret", os.Args[2]))
	issuer := "http://" + os.Args[1] + "/"
	store := grouped{storage.NewStorage(storage.NewUserStore(issuer))}
	handler := exampleop.SetupServer(issuer, store, slog.New(slog.NewTextHandler(os.Stderr, nil)), false)
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", os.Args[1])
	if err != nil {
		return err
	}
	return (&http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}).Serve(l)
}

// grouped adds groups to what the provider says of somebody.
type grouped struct{ *storage.Storage }

func (g grouped) SetUserinfoFromToken(ctx context.Context, info *oidc.UserInfo, token, subject, origin string) error {
	if err := g.Storage.SetUserinfoFromToken(ctx, info, token, subject, origin); err != nil {
		return err
	}
	groups := []string{"others"}
	if subject == "id1" {
		groups = []string{"operators", "staff", "cleaners"}
	}
	info.AppendClaims("groups", groups)
	return nil
}
