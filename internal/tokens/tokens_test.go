package tokens_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t testing.TB) *tokens.AdminKey {
	t.Helper()
	file := filepath.Join(t.TempDir(), "admin.key")
	_, err := tokens.MakeKey(file, file+".pub")
	testkit.Must(t, err)
	key, err := tokens.ReadAdminKey(file)
	testkit.Must(t, err)
	return key
}

// A rig is a provisioned broker and an administrator.
type rig struct {
	t      *testing.T
	broker *natstest.Broker
	key    *tokens.AdminKey
	issuer *tokens.Issuer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, broker: natstest.Run(t), key: newKey(t)}
	testkit.Must(t, channels.Provision(t.Context(), r.broker.JS, events.DefaultNames(), channels.Storage{}))
	r.open(r.key)
	return r
}

func (r *rig) open(key *tokens.AdminKey) {
	r.t.Helper()
	var err error
	r.issuer, err = tokens.OpenIssuer(r.t.Context(), r.broker.JS, events.DefaultNames(), key)
	testkit.Must(r.t, err)
}

func (r *rig) create(name string) (tokens.Token, string) {
	r.t.Helper()
	tok, text, err := r.issuer.Create(r.t.Context(), tokens.Token{Name: name, Scopes: []tokens.Scope{tokens.Read}})
	testkit.Must(r.t, err)
	return tok, text
}

func (r *rig) cache(keys tokens.Keys) *tokens.Cache {
	r.t.Helper()
	store, err := tokens.Open(r.t.Context(), r.broker.JS, events.DefaultNames(), keys)
	testkit.Must(r.t, err)
	c, err := tokens.NewCache(r.t.Context(), store)
	testkit.Must(r.t, err)
	return c
}

func valid(t *testing.T, c *tokens.Cache, text string) bool {
	t.Helper()
	_, _, err := c.Authenticate(t.Context(), text)
	if err != nil && !errors.Is(err, tokens.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func (r *rig) stream() jetstream.Stream {
	r.t.Helper()
	stream, err := r.broker.JS.Stream(r.t.Context(), wire.KVStream(wire.TokensBucket(events.DefaultNames())))
	testkit.Must(r.t, err)
	return stream
}

// record returns a record as it lies at the broker.
func (r *rig) record(seq uint64) *jetstream.RawStreamMsg {
	r.t.Helper()
	msg, err := r.stream().GetMsg(r.t.Context(), seq)
	testkit.Must(r.t, err)
	return msg
}

// A killed broker forgets deletions. A token that was revoked must not come back then.
func TestRevokedTokenStaysRevokedWhenTheBrokerIsKilled(t *testing.T) {
	r := newRig(t)
	r.create("first")
	revoked, text := r.create("revoked")
	kept, keptText := r.create("kept")
	testkit.Must(t, r.issuer.Revoke(t.Context(), revoked.ID, false))
	if err := r.issuer.Revoke(t.Context(), revoked.ID, false); !errors.Is(err, tokens.ErrNotFound) {
		t.Errorf("revoked twice: %v", err)
	}
	for range 3 { // each kill may bring back what is older
		r.broker.Kill(t)
		r.open(r.key)
		if _, err := r.issuer.Get(t.Context(), revoked.ID); !errors.Is(err, tokens.ErrRevoked) {
			t.Fatalf("the revoked token: %v", err)
		}
	}
	cache := r.cache(r.key.Keys)
	if valid(t, cache, text) {
		t.Error("the revoked token is valid")
	}
	if !valid(t, cache, keptText) || !cache.Valid(kept.ID) {
		t.Error("the other one is not valid")
	}
	if _, _, err := r.issuer.Adopt(t.Context(), tokens.Token{Name: "again"}, text); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("adopt the revoked token: %v", err)
	}
	list, foreign, err := r.issuer.List(t.Context())
	testkit.Must(t, err)
	if len(list) != 2 || foreign != 0 {
		t.Errorf("listed: %+v, %d foreign", list, foreign)
	}
}

// Whoever may write to the bucket could bring a revoked token back by storing its record
// again, or by removing the record of the revocation.
func TestRecordThatIsStoredAgainDoesNotUndoARevocation(t *testing.T) {
	r := newRig(t)
	tok, text := r.create("revoked")
	yesterday := r.record(1)
	testkit.Must(t, r.issuer.Revoke(t.Context(), tok.ID, false))
	revocation := r.record(2)

	store := func(subject string, data []byte, header nats.Header) error {
		_, err := r.broker.JS.PublishMsg(t.Context(), &nats.Msg{Subject: subject, Data: data, Header: header})
		return err
	}
	rollup := nats.Header{}
	rollup.Set("Nats-Rollup", "all")
	for name, err := range map[string]error{
		"the token again":         store(yesterday.Subject, yesterday.Data, nil),
		"over the revocation":     store(revocation.Subject, nil, nil),
		"in place of everything":  store(yesterday.Subject+"x", yesterday.Data, rollup),
		"purge the bucket":        r.stream().Purge(t.Context()),
		"delete the revocation":   r.stream().DeleteMsg(t.Context(), revocation.Sequence),
		"wipe out the revocation": r.stream().SecureDeleteMsg(t.Context(), revocation.Sequence),
	} {
		if err == nil {
			t.Errorf("%s: the broker lets it pass", name)
		}
	}
	testkit.Must(t, store(yesterday.Subject+"x", yesterday.Data, nil)) // under a key that is free
	if valid(t, r.cache(r.key.Keys), text) {
		t.Error("the revoked token is valid")
	}
	if _, err := r.issuer.Get(t.Context(), tok.ID); !errors.Is(err, tokens.ErrRevoked) {
		t.Errorf("the revoked token: %v", err)
	}
}

// A token was whatever lay in the bucket: a publisher made itself administrator by
// writing there.
func TestRecordsThatNoAdministratorHasSignedDoNotCount(t *testing.T) {
	r := newRig(t)
	tok, text := r.create("genuine")
	genuine := r.record(1)

	other := newRig(t) // somebody with a key of their own
	forged, forgedText := other.create("forged")
	testkit.Must(t, other.issuer.Revoke(t.Context(), forged.ID, false))
	elsewhere, elsewhereText := other.create("elsewhere")
	prefix := strings.TrimSuffix(genuine.Subject, genuine.Subject[strings.Index(genuine.Subject, "token."):])
	for subject, data := range map[string][]byte{
		other.record(1).Subject:                 other.record(1).Data,
		other.record(3).Subject:                 other.record(3).Data,
		prefix + "token." + elsewhere.ID + ".x": []byte(`{"f":1,"id":"` + elsewhere.ID + `","scopes":["admin"],"rate":1,"hash":"` + elsewhere.Hash + `"}`),
		prefix + "token." + elsewhere.ID + ".y": genuine.Data, // signed for another id
		prefix + "revoked." + tok.ID + ".x":     genuine.Data, // signed as something else
		prefix + "revoked." + tok.ID + ".y":     other.record(2).Data,
		prefix + "revoked." + tok.ID + ".z":     nil,
		prefix + "x":                            []byte("x"),
	} {
		_, err := r.broker.JS.Publish(t.Context(), subject, data)
		testkit.Must(t, err)
	}
	cache := r.cache(r.key.Keys)
	if valid(t, cache, forgedText) || valid(t, cache, elsewhereText) {
		t.Error("a token is valid that no administrator has made")
	}
	if !valid(t, cache, text) {
		t.Error("a revocation counts that no administrator has signed")
	}
	if list, foreign, err := r.issuer.List(t.Context()); err != nil || len(list) != 1 || foreign != 8 || cache.Foreign() != 8 {
		t.Errorf("list: %v, %d foreign, %v; cache: %d", list, foreign, err, cache.Foreign())
	}
}

// A broker whose files were restored knows nothing of what was revoked since.
func TestPublisherThatRunsRemembersWhatARestoredBrokerForgot(t *testing.T) {
	r := newRig(t)
	tok, text := r.create("revoked")
	putBack := r.broker.KeepFiles(t, wire.KVStream(wire.TokensBucket(events.DefaultNames())))
	r.open(r.key)
	testkit.Must(t, r.issuer.Revoke(t.Context(), tok.ID, false))
	late, lateText := r.create("late")
	js, err := jetstream.New(r.broker.Connect(t)) // it outlives the restart
	testkit.Must(t, err)
	store, err := tokens.Open(t.Context(), js, events.DefaultNames(), r.key.Keys)
	testkit.Must(t, err)
	cache, err := tokens.NewCache(t.Context(), store)
	testkit.Must(t, err)
	putBack()
	r.open(r.key)
	_, newText := r.create("new")
	ctx, stop := context.WithCancel(t.Context())
	kept := make(chan struct{})
	go func() { defer close(kept); cache.Keep(ctx) }()
	if valid(t, cache, text) || !valid(t, cache, lateText) || !valid(t, cache, newText) {
		t.Error("what was revoked is valid, or what was not is not")
	}
	// Whoever restores the broker revokes again, also what its files do not know.
	testkit.Must(t, r.issuer.Revoke(t.Context(), tok.ID, false))
	if err := r.issuer.Revoke(t.Context(), late.ID, false); !errors.Is(err, tokens.ErrNotFound) {
		t.Errorf("revoke what the broker does not know: %v", err)
	}
	testkit.Must(t, r.issuer.Revoke(t.Context(), late.ID, true))
	testkit.Eventually(t, "the token to be refused", func() bool { return !valid(t, cache, lateText) })
	if next := r.cache(r.key.Keys); valid(t, next, text) || valid(t, next, lateText) || !valid(t, next, newText) {
		t.Error("a publisher that starts now sees it otherwise")
	}
	stop()
	<-kept
}

func TestKeysTakeEachOthersPlace(t *testing.T) {
	r := newRig(t)
	_, oldText := r.create("old")
	next := newKey(t)
	both := &tokens.AdminKey{Keys: append(next.Keys[:1:1], r.key.Keys...)}
	if valid(t, r.cache(next.Keys), oldText) || !valid(t, r.cache(both.Keys), oldText) || valid(t, r.cache(nil), oldText) {
		t.Error("a token is valid without its key, or not with it")
	}
	r.open(next)
	_, newText := r.create("new")
	if !valid(t, r.cache(both.Keys), newText) || valid(t, r.cache(r.key.Keys), newText) {
		t.Error("a token is valid without its key, or not with it")
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "admin.key")
	for _, want := range []bool{true, false} {
		if made, err := tokens.MakeKey(file, file+".pub"); err != nil || made != want {
			t.Errorf("made: %v, %v", made, err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the key: %v, %v", info.Mode(), err)
	}
	private, err := os.ReadFile(file)
	testkit.Must(t, err)
	public, err := os.ReadFile(file + ".pub")
	testkit.Must(t, err)
	both := filepath.Join(dir, "both")
	testkit.Must(t, os.WriteFile(both, append(private, public...), 0o600))
	if key, err := tokens.ReadAdminKey(both); err != nil || len(key.Keys) != 2 {
		t.Errorf("a key with a public one beside it: %v", err)
	}
	if keys, err := tokens.ReadKeys(file); err != nil || len(keys) != 1 {
		t.Errorf("the public half of a private key: %v", err)
	}
	if _, err := tokens.ReadAdminKey(file + ".pub"); !errors.Is(err, connectors.ErrConfig) {
		t.Errorf("a public key as administrator: %v", err)
	}
	for name, data := range map[string]string{
		"empty": "", "no PEM": "secret", "cut off": string(private[:len(private)/2]), "two keys": string(private) + string(private),
		"text behind": string(public) + "secret", "another algorithm": otherKey(t), "large": strings.Repeat(string(public), 2000),
		"no key": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "no DER": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
	} {
		bad := filepath.Join(dir, "bad")
		testkit.Must(t, os.WriteFile(bad, []byte(data), 0o600))
		if _, err := tokens.ReadKeys(bad); !errors.Is(err, connectors.ErrConfig) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "c2Vj") {
			t.Errorf("%s: %v", name, err)
		}
		if made, err := tokens.MakeKey(bad, file+".pub"); err == nil || made {
			t.Errorf("%s: a key takes the place of another file: %v, %v", name, made, err)
		}
	}
	if _, err := tokens.ReadKeys(filepath.Join(dir, "none")); !errors.Is(err, connectors.ErrConfig) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// otherKey returns a private key of another algorithm.
func otherKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testkit.Must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	testkit.Must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
