package sessions_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// none: no token has ended.
func none(string) bool { return false }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSealedSessions(t *testing.T) {
	keys, err := sessions.NewKeys()
	testkit.Must(t, err)
	now := time.Now()
	s, cookie, err := keys.Seal(sessions.Session{Token: "0123456789ab", Installation: "sync", Expires: now.Add(100 * time.Hour)}, now)
	testkit.Must(t, err)
	if got, err := keys.Open(cookie, "sync", now.Add(7*time.Hour)); err != nil || got.ID != s.ID || got.Token != s.Token {
		t.Errorf("%+v, %v", got, err)
	}
	for what, err := range map[string]error{
		"another installation": second(keys.Open(cookie, "other", now)),
		"after eight hours":    second(keys.Open(cookie, "sync", now.Add(8*time.Hour))),
		"without a key":        second(sessions.Keys{}.Open(cookie, "sync", now)),
		"from the future":      second(keys.Open(cookie, "sync", now.Add(-time.Hour))),
	} {
		if !errors.Is(err, sessions.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	groups := make([]string, 1000)
	for i := range groups {
		groups[i] = fmt.Sprint("group-", i)
	}
	if _, _, err := keys.Seal(sessions.Session{Groups: groups}, now); !errors.Is(err, sessions.ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
	if _, _, err := (sessions.Keys{}).Seal(sessions.Session{}, now); !errors.Is(err, sessions.ErrNoKey) {
		t.Errorf("without a key: %v", err)
	}
}

func second(_ sessions.Session, err error) error { return err }

func TestSessionKeyFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "session.key")
	_, err := tokens.MakeKey(file, file+".pub")
	testkit.Must(t, err)
	keys, err := sessions.ReadKeys(file, nil)
	testkit.Must(t, err)
	public, err := sessions.ReadKeys(file+".pub", nil)
	testkit.Must(t, err)
	if !keys.Signs() || public.Signs() || !public.Verifies() {
		t.Error("a public half signs, or a key does not")
	}
	_, cookie, err := keys.Seal(sessions.Session{Installation: "sync"}, time.Now())
	testkit.Must(t, err)
	if _, err := public.Open(cookie, "sync", time.Now()); err != nil {
		t.Error(err)
	}
	signers, err := tokens.ReadKeys(file)
	testkit.Must(t, err)
	for _, name := range []string{file, file + ".pub"} {
		if _, err := sessions.ReadKeys(name, signers); !errors.Is(err, connectors.ErrConfig) {
			t.Errorf("a key that signs tokens: %v", err)
		}
	}
	testkit.Must(t, os.Chmod(file, 0o644)) //nolint:gosec // it is what is refused
	if _, err := sessions.ReadKeys(file, nil); !errors.Is(err, connectors.ErrConfig) {
		t.Errorf("a key that everybody may read: %v", err)
	}
}

// An instance that was started after an older broker had come back took logins that had been ended,
// also after 'extsync recover'.
func TestLoginsEndWithTheIncarnation(t *testing.T) {
	broker := natstest.Run(t)
	names := events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), broker.JS, names, channels.Storage{}))
	keys, err := sessions.NewKeys()
	testkit.Must(t, err)
	open := func(want int) *sessions.Store {
		s, err := sessions.OpenStore(t.Context(), broker.JS, names)
		testkit.Must(t, err)
		if list, _, err := s.List(t.Context(), none, 10); err != nil || len(list) != want {
			t.Errorf("listed: %+v, %v", list, err)
		}
		return s
	}
	first := open(0)
	login, cookie, err := keys.Seal(sessions.Session{Installation: first.Installation()}, time.Now())
	testkit.Must(t, err)
	testkit.Must(t, first.Begin(t.Context(), login, "token 1 (x)", "127.0.0.1:1"))
	if _, err := keys.Open(cookie, open(1).Installation(), time.Now()); err != nil {
		t.Errorf("after a start: %v", err)
	}
	_, _, err = wire.RenewIncarnation(t.Context(), broker.JS, names)
	testkit.Must(t, err)
	if _, err := keys.Open(cookie, open(0).Installation(), time.Now()); !errors.Is(err, sessions.ErrInvalid) {
		t.Errorf("after recover: %v", err)
	}
}

// A broker whose files were restored knows nothing of who has logged out since.
func TestEndedLoginStaysEndedAtAnOlderBroker(t *testing.T) {
	broker := natstest.Run(t)
	names := events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), broker.JS, names, channels.Storage{}))
	open := func(js jetstream.JetStream) *sessions.Store {
		s, err := sessions.OpenStore(t.Context(), js, names)
		testkit.Must(t, err)
		return s
	}
	keys, err := sessions.NewKeys()
	testkit.Must(t, err)
	first := open(broker.JS)
	login, _, err := keys.Seal(sessions.Session{Installation: first.Installation()}, time.Now())
	testkit.Must(t, err)
	testkit.Must(t, first.Begin(t.Context(), login, "token 1 (x)", "127.0.0.1:1"))
	putBack := broker.KeepFiles(t, wire.KVStream(wire.SessionsBucket(names)))
	first = open(broker.JS)
	js, err := jetstream.New(broker.Connect(t)) // it outlives the restart
	testkit.Must(t, err)
	store := open(js)
	if list, _, err := store.List(t.Context(), none, 10); err != nil || len(list) != 1 || list[0].Who != "token 1 (x)" {
		t.Fatalf("%+v, %v", list, err)
	}
	_, err = first.End(t.Context(), login.ID)
	testkit.Must(t, err)
	if list, _, err := store.List(t.Context(), none, 10); err != nil || len(list) != 0 || !store.Ended(login.ID) {
		t.Fatalf("it was ended elsewhere: %+v, %v", list, err)
	}
	putBack()
	if list, _, err := store.List(t.Context(), none, 10); err != nil || len(list) != 0 || !store.Ended(login.ID) {
		t.Errorf("the older broker brings it back: %+v, %v", list, err)
	}
	// One that starts now does not know, which the documents say.
	if open(broker.JS).Ended(login.ID) {
		t.Error("how does it know?")
	}
}

// Whoever writes to the bucket can end a login and fill the list, and nothing else.
func TestForeignRecordsOfSessions(t *testing.T) {
	broker := natstest.Run(t)
	names := events.DefaultNames()
	testkit.Must(t, channels.Provision(t.Context(), broker.JS, names, channels.Storage{}))
	id := sessions.NewID()
	before, err := sessions.OpenStore(t.Context(), broker.JS, names)
	testkit.Must(t, err)
	at := before.Installation()
	for key, data := range map[string]string{
		"begun." + id: `{"f":1,"at":"` + at + `","id":"` + id + `","who":"x","expires":"9999-01-01T00:00:00Z"}`, "begun.x": "x", "ended.x": `{"f":1,"id":"x"}`,
		"other." + id: `{"f":1,"id":"` + id + `"}`, "begun." + sessions.NewID(): `{"f":1,"id":"` + id + `"}`, "x": "",
	} {
		_, err := broker.JS.Publish(t.Context(), wire.KVSubject(wire.SessionsBucket(names), key), []byte(data))
		testkit.Must(t, err)
	}
	s, err := sessions.OpenStore(t.Context(), broker.JS, names)
	testkit.Must(t, err)
	if list, _, err := s.List(t.Context(), none, 10); err != nil || len(list) != 1 || time.Until(list[0].Expires) > sessions.MaxAge || s.Ended(id) {
		t.Errorf("%+v, %v", list, err)
	}
}
