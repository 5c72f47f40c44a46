package broker_test

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/extsync"
)

func TestPublishFailsAtOnceWhileDisconnected(t *testing.T) {
	b := natstest.Run(t, natstest.Options{TCP: true})
	lost, back := make(chan struct{}, 1), make(chan struct{}, 1)
	nc := connect(t, broker.Config{URL: b.URL()},
		nats.DisconnectErrHandler(func(*nats.Conn, error) { lost <- struct{}{} }),
		nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	b.Stop(t)
	<-lost
	if err := nc.Publish("subject", []byte("x")); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("publish while disconnected: %v, want ErrReconnectBufExceeded", err)
	}
	b.Start(t)
	<-back
	if err := nc.Publish("subject", []byte("x")); err != nil {
		t.Errorf("publish after the reconnect: %v", err)
	}
}

// A pull of messages has room for those that it asks for, and for the word that
// these were all only where some have been taken: that is no error, and nothing is
// missing.
func TestPullThatIsFullIsNoError(t *testing.T) {
	const most = 4
	var log logBuffer
	b := natstest.Run(t, natstest.Options{TCP: true})
	nc, err := broker.Connect(t.Context(), broker.Config{URL: b.URL()}, zerolog.New(&log).Level(zerolog.DebugLevel))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	it, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(most, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer it.Stop()
	full := func() bool { return strings.Contains(log.String(), nats.ErrSlowConsumer.Error()) }
	for deadline := time.Now().Add(testkit.Patience); !full(); {
		if time.Now().After(deadline) {
			t.Fatalf("there was room for everything: %s", log.String())
		}
		for range 2 * most {
			if _, err := js.Publish(t.Context(), "s", nil); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 * most {
			if _, err := it.Next(jetstream.NextMaxWait(testkit.Patience)); err != nil {
				t.Fatal(err)
			}
			if i == most-1 { // the next ones are asked for, and mostly before these were all
				for wait := time.After(100 * time.Millisecond); !full() && wait != nil; {
					select {
					case <-wait:
						wait = nil
					case <-time.After(time.Millisecond):
					}
				}
			}
		}
	}
	if strings.Contains(log.String(), `"level":"error"`) || strings.Contains(log.String(), `"level":"warn"`) {
		t.Error(log.String())
	}
}

// What nobody takes from a subscription without a bound of its own is lost.
func TestMessagesThatAreLostAreAnError(t *testing.T) {
	var log logBuffer
	b := natstest.Run(t, natstest.Options{TCP: true})
	nc, err := broker.Connect(t.Context(), broker.Config{URL: b.URL()}, zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	held := make(chan struct{})
	defer close(held)
	sub, err := nc.Subscribe("s", func(*nats.Msg) { <-held })
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(1, -1); err != nil {
		t.Fatal(err)
	}
	for deadline := time.After(testkit.Patience); !strings.Contains(log.String(), `"level":"error"`); {
		if err := nc.Publish("s", nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatalf("it is not logged: %s", log.String())
		case <-time.After(time.Millisecond):
		}
	}
}

// A client that gives up after a refusal would leave its process running and
// deaf.
func TestReconnectsAfterItsCredentialsWereRefused(t *testing.T) {
	right := &server.Options{Username: "user", Password: "right"}
	s := serve(t, right)
	refused, back := make(chan struct{}, 16), make(chan struct{}, 1)
	url := strings.Replace(s.ClientURL(), "nats://", "nats://user:right@", 1)
	nc := connect(t, broker.Config{URL: url},
		nats.ReconnectWait(1), nats.ReconnectJitter(0, 0),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrAuthorization) {
				select {
				case refused <- struct{}{}:
				default:
				}
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	changed := *right
	changed.Password = "rotated"
	if err := s.ReloadOptions(&changed); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the client's own limit is two
		<-refused
	}
	again := changed
	again.Password = "right"
	if err := s.ReloadOptions(&again); err != nil {
		t.Fatal(err)
	}
	<-back
	if err := nc.Flush(); err != nil {
		t.Error(err)
	}
}

func TestLogsWhatHappens(t *testing.T) {
	const secret = "s3cret-payload"
	s := serve(t, &server.Options{Users: []*server.User{{
		Username: "user", Password: "s3cret-password",
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: []string{"allowed"}},
			Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		},
	}}})
	var log logBuffer
	url := strings.Replace(s.ClientURL(), "nats://", "nats://user:s3cret-password@", 1)
	nc, err := broker.Connect(t.Context(), broker.Config{URL: url}, zerolog.New(&log))
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	inner := nc.Opts.ClosedCB
	nc.SetClosedHandler(func(nc *nats.Conn) { inner(nc); close(closed) })
	if err := nc.Publish("forbidden", []byte(secret)); err != nil {
		t.Fatal(err)
	}
	sub, err := nc.SubscribeSync("not.ours")
	if err != nil {
		t.Fatal(err)
	}
	// The refusal comes before the answer to a ping, and then reaches whoever
	// asks for a message instead of leaving them waiting.
	if err := nc.Flush(); err != nil && !errors.Is(err, nats.ErrPermissionViolation) {
		t.Fatal(err)
	}
	if _, err := sub.NextMsgWithContext(t.Context()); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Errorf("a forbidden subscription gave %v", err)
	}
	nc.Close()
	<-closed // callbacks run in order, so everything is logged now
	got := log.String()
	for _, want := range []string{`"level":"error"`, `forbidden`, `not.ours`} {
		if !strings.Contains(got, want) {
			t.Errorf("the log does not hold %q:\n%s", want, got)
		}
	}
	for _, no := range []string{secret, "s3cret-password"} {
		if strings.Contains(got, no) {
			t.Errorf("the log holds %q:\n%s", no, got)
		}
	}
}

func TestTLS(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	s := serve(t, &server.Options{TLSConfig: ours.serverTLS(t), TLSTimeout: 5})
	url := s.ClientURL()
	cert, key := ours.issue(t)

	connect(t, broker.Config{URL: url, TLS: broker.TLS{CAFile: ours.file, CertFile: cert, KeyFile: key}})

	t.Run("unknown authority", func(t *testing.T) {
		_, err := broker.Connect(t.Context(), broker.Config{URL: url, TLS: broker.TLS{CAFile: foreign.file}}, zerolog.Nop())
		var unverified *tls.CertificateVerificationError
		if !errors.Is(err, extsync.ErrTLS) || !errors.As(err, &unverified) || !strings.Contains(err.Error(), "tls.ca_file") {
			t.Errorf("error = %v", err)
		}
	})
	t.Run("no client certificate", func(t *testing.T) {
		_, err := broker.Connect(t.Context(), broker.Config{URL: url, TLS: broker.TLS{CAFile: ours.file}}, zerolog.Nop())
		if !errors.Is(err, extsync.ErrTLS) || !errors.Is(err, extsync.ErrConnect) || !strings.Contains(err.Error(), "check the tls settings") {
			t.Errorf("error = %v", err)
		}
	})
}

func TestNKey(t *testing.T) {
	user, seed := newUser(t)
	s := serve(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: user}}})
	connect(t, broker.Config{URL: s.ClientURL(), NKeySeedFile: writeFile(t, "seed", seed)})

	_, stranger := newUser(t)
	_, err := broker.Connect(t.Context(), broker.Config{URL: s.ClientURL(), NKeySeedFile: writeFile(t, "seed", stranger)}, zerolog.Nop())
	if !errors.Is(err, nats.ErrAuthorization) || !errors.Is(err, extsync.ErrCredentials) || strings.Contains(err.Error(), string(stranger)) {
		t.Errorf("error = %v, want ErrAuthorization without the seed", err)
	}
}

func newUser(t *testing.T) (public string, seed []byte) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = pair.PublicKey(); err != nil {
		t.Fatal(err)
	}
	if seed, err = pair.Seed(); err != nil {
		t.Fatal(err)
	}
	return public, seed
}

func TestCredentialsFile(t *testing.T) {
	operator, account := newSigner(t, nkeys.CreateOperator), newSigner(t, nkeys.CreateAccount)
	operatorClaims := jwt.NewOperatorClaims(operator.public)
	accountClaims := jwt.NewAccountClaims(account.public)
	accountJWT, err := accountClaims.Encode(operator.pair)
	if err != nil {
		t.Fatal(err)
	}
	accounts := &server.MemAccResolver{}
	if err := accounts.Store(account.public, accountJWT); err != nil {
		t.Fatal(err)
	}
	s := serve(t, &server.Options{
		TrustedOperators: []*jwt.OperatorClaims{operatorClaims},
		AccountResolver:  accounts,
	})
	user, seed := newUser(t)
	userJWT, err := jwt.NewUserClaims(user).Encode(account.pair)
	if err != nil {
		t.Fatal(err)
	}
	creds, err := jwt.FormatUserConfig(userJWT, seed)
	if err != nil {
		t.Fatal(err)
	}
	connect(t, broker.Config{URL: s.ClientURL(), CredsFile: writeFile(t, "user.creds", creds)})
}

type signer struct {
	pair   nkeys.KeyPair
	public string
}

func newSigner(t *testing.T, create func() (nkeys.KeyPair, error)) signer {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return signer{pair, public}
}
