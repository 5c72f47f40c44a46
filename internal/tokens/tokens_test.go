package tokens_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, b *natstest.Broker) *tokens.Store {
	t.Helper()
	s, err := tokens.Open(t.Context(), b.JS, events.DefaultNames())
	testkit.Must(t, err)
	return s
}

// A killed broker forgets deletions. A token that was revoked must not come back then,
// even if somebody has removed the bucket's markers of what was deleted.
func TestRevokedTokenStaysRevokedWhenTheBrokerIsKilled(t *testing.T) {
	b := natstest.Run(t)
	testkit.Must(t, channels.Provision(t.Context(), b.JS, events.DefaultNames(), channels.Storage{}))
	store := open(t, b)
	make1 := func(name string) (tokens.Token, string) {
		tok, text, err := store.Create(t.Context(), tokens.Token{Name: name, Scopes: []tokens.Scope{tokens.Read}})
		testkit.Must(t, err)
		return tok, text
	}
	make1("first")
	revoked, text := make1("revoked")
	kept, keptText := make1("kept")
	_, err := store.Revoke(t.Context(), revoked.ID)
	testkit.Must(t, err)
	if _, err := store.Revoke(t.Context(), revoked.ID); !errors.Is(err, tokens.ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
	for range 3 { // each kill may bring back what is older
		kv, err := b.JS.KeyValue(t.Context(), events.DefaultNames().TokensBucket())
		testkit.Must(t, err)
		testkit.Must(t, kv.PurgeDeletes(t.Context(), jetstream.DeleteMarkersOlderThan(-1)))
		b.Kill(t)
		store = open(t, b)
		if _, err := store.Get(t.Context(), revoked.ID); !errors.Is(err, tokens.ErrNotFound) {
			t.Fatalf("the revoked token: %v", err)
		}
	}
	cache, err := tokens.NewCache(t.Context(), store)
	testkit.Must(t, err)
	if _, _, err := cache.Authenticate(t.Context(), text); !errors.Is(err, tokens.ErrNotFound) {
		t.Errorf("authenticate by the revoked token: %v", err)
	}
	if tok, _, err := cache.Authenticate(t.Context(), keptText); err != nil || tok.ID != kept.ID {
		t.Errorf("authenticate by the other one: %v, %v", tok, err)
	}
	if _, _, err := store.Adopt(t.Context(), tokens.Token{Name: "again"}, text); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("adopt the revoked token: %v", err)
	}
	list, err := store.List(t.Context())
	testkit.Must(t, err)
	if len(list) != 2 {
		t.Errorf("listed: %+v", list)
	}
}
