package connnats_test

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/hms-utl/extsync/internal/testcert"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connnats"
)

// serve runs a server with options of its own and returns its host and port.
func serve(t *testing.T, o *server.Options) string {
	t.Helper()
	o.Host, o.Port, o.NoLog, o.NoSigs = "127.0.0.1", server.RANDOM_PORT, true, true
	if o.JetStream {
		o.StoreDir = t.TempDir()
	}
	s, err := server.NewServer(o)
	testkit.Must(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(testkit.Patience) {
		t.Fatal("the server is not ready")
	}
	u, err := url.Parse(s.ClientURL())
	testkit.Must(t, err)
	return u.Host
}

// bucketAt makes the bucket that configurations of the tests name.
func bucketAt(t *testing.T, address string, opts ...nats.Option) {
	t.Helper()
	nc, err := nats.Connect("nats://"+address, opts...)
	testkit.Must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	testkit.Must(t, err)
	_, err = js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "things"})
	testkit.Must(t, err)
}

func lines(address, more string) []byte {
	return fmt.Appendf(nil, "servers: ['nats://%s']\nallow_cidrs: [127.0.0.0/8]\nmode: bucket\nbucket: things\n%s", address, more)
}

func TestLogins(t *testing.T) {
	pair, err := nkeys.CreateUser()
	testkit.Must(t, err)
	public, _ := pair.PublicKey()
	seed, _ := pair.Seed()
	byToken := serve(t, &server.Options{JetStream: true, Authorization: "s3cr3t"})
	byUser := serve(t, &server.Options{
		JetStream: true, Users: []*server.User{{Username: "u", Password: "s3cr3t"}}, Nkeys: []*server.NkeyUser{{Nkey: public}},
	})
	bucketAt(t, byToken, nats.Token("s3cr3t"))
	bucketAt(t, byUser, nats.UserInfo("u", "s3cr3t"))
	byCredentials, creds := accounts(t)
	env := connectortest.Env(map[string]string{"GOOD": "s3cr3t", "BAD": "swordfish", "SEED": string(seed), "CREDS": creds})
	for name, c := range map[string]struct {
		address, login string
		class          connectors.Class
		code           string
	}{
		"token":              {byToken, "token: ${env:GOOD}", connectors.OK, ""},
		"another token":      {byToken, "token: ${env:BAD}", connectors.Misconfigured, "authorization"},
		"no token":           {byToken, "", connectors.Misconfigured, "authorization"},
		"user":               {byUser, "username: u\npassword: ${env:GOOD}", connectors.OK, ""},
		"another password":   {byUser, "username: u\npassword: ${env:BAD}", connectors.Misconfigured, "authorization"},
		"nkey":               {byUser, "nkey: ${env:SEED}", connectors.OK, ""},
		"no nkey":            {byUser, "nkey: ${env:BAD}", connectors.Misconfigured, "nkey"},
		"credentials":        {byCredentials, "credentials: ${env:CREDS}", connectors.OK, ""},
		"no credentials":     {byCredentials, "credentials: ${env:BAD}", connectors.Misconfigured, "credentials"},
		"nobody known there": {byCredentials, "nkey: ${env:SEED}", connectors.Misconfigured, "authorization"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := openWith(t, env, lines(c.address, c.login+"\n"))
			want(t, apply(t, conn, attempt(fmt.Sprint("k", len(name)), 1, "{}"))[0], c.class, c.code)
			if _, err := conn.Read(t.Context(), []string{"k"}); c.class != connectors.OK && connectors.ClassOf(err) != c.class {
				t.Errorf("Read: %v", err)
			}
		})
	}
}

// accounts runs a server with accounts by signed tokens, and returns its address and the
// credentials of a user of one that has a bucket.
func accounts(t *testing.T) (address, creds string) {
	t.Helper()
	operator, _ := nkeys.CreateOperator()
	account, _ := nkeys.CreateAccount()
	system, _ := nkeys.CreateAccount()
	user, _ := nkeys.CreateUser()
	public := func(pair nkeys.KeyPair) string {
		key, err := pair.PublicKey()
		testkit.Must(t, err)
		return key
	}
	operatorClaims := jwt.NewOperatorClaims(public(operator))
	operatorClaims.SystemAccount = public(system)
	resolver := &server.MemAccResolver{}
	for _, pair := range []nkeys.KeyPair{account, system} {
		claims := jwt.NewAccountClaims(public(pair))
		if public(pair) == public(account) {
			claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
		}
		token, err := claims.Encode(operator)
		testkit.Must(t, err)
		testkit.Must(t, resolver.Store(public(pair), token))
	}
	address = serve(t, &server.Options{JetStream: true, TrustedOperators: []*jwt.OperatorClaims{operatorClaims}, AccountResolver: resolver, SystemAccount: public(system)})
	token, err := jwt.NewUserClaims(public(user)).Encode(account)
	testkit.Must(t, err)
	seed, err := user.Seed()
	testkit.Must(t, err)
	file, err := jwt.FormatUserConfig(token, seed)
	testkit.Must(t, err)
	bucketAt(t, address, nats.UserCredentialBytes(file))
	return address, string(file)
}

// A user who may not write somewhere is told so at once, and not by the end of the time.
func TestMissingPermissions(t *testing.T) {
	user := func(name string, publish []string, subscribe ...string) *server.User {
		return &server.User{Username: name, Password: "s3cr3t", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
		}}
	}
	address := serve(t, &server.Options{JetStream: true, Users: []*server.User{
		{Username: "admin", Password: "s3cr3t"},
		user("reads", []string{"$JS.API.>"}, "_INBOX.>"), user("writes", []string{"$KV.>"}, "_INBOX.>"),
		user("deaf", []string{">"}, "elsewhere.>"), user("ours", []string{">"}, "ours.>"),
	}})
	bucketAt(t, address, nats.UserInfo("admin", "s3cr3t"))
	env := connectortest.Env(map[string]string{"PW": "s3cr3t"})
	env.Timeout = testkit.Patience
	open := func(name, more string) *connectors.Opened {
		return openWith(t, env, lines(address, "username: "+name+"\npassword: ${env:PW}\n"+more))
	}
	a := attempt("k", 1, "{}")
	want(t, apply(t, open("reads", ""), a)[0], connectors.Misconfigured, "permission")
	want(t, apply(t, open("deaf", ""), attempt("unheard", 1, "{}"))[0], connectors.Misconfigured, "permission")
	want(t, apply(t, open("writes", ""), a)[0], connectors.OK, "") // a new key is not read
	a.Held = true
	want(t, apply(t, open("writes", ""), a)[0], connectors.Misconfigured, "permission")
	want(t, apply(t, open("ours", "inbox_prefix: ours.in\n"), a)[0], connectors.OK, "")
}

func TestTLS(t *testing.T) {
	ca, err := testcert.New()
	testkit.Must(t, err)
	cert, key, err := ca.Issue(testcert.Leaf{})
	testkit.Must(t, err)
	pair, err := tls.X509KeyPair(cert, key)
	testkit.Must(t, err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	secured := serve(t, &server.Options{JetStream: true, TLS: true, TLSConfig: config, TLSTimeout: 10})
	plain := serve(t, &server.Options{JetStream: true})
	bucketAt(t, secured, nats.Secure(&tls.Config{InsecureSkipVerify: true})) //nolint:gosec // its certificate is the test's
	env := connectortest.Env(map[string]string{"CA": string(ca.PEM)})
	for name, c := range map[string]struct {
		scheme, address, tls string
		class                connectors.Class
		code                 string
	}{
		"trusted":            {"tls", secured, "{ca: '${env:CA}'}", connectors.OK, ""},
		"asked for by tls":   {"nats", secured, "{ca: '${env:CA}'}", connectors.OK, ""},
		"for another name":   {"tls", secured, "{ca: '${env:CA}', server_name: nats.example}", connectors.Misconfigured, "tls_verify"},
		"not trusted":        {"tls", secured, "{}", connectors.Misconfigured, "tls_verify"},
		"the server's wish":  {"nats", secured, "{}", connectors.Misconfigured, "tls_verify"},
		"not verified":       {"tls", secured, "{insecure_skip_verify: true}", connectors.OK, ""},
		"the server has not": {"tls", plain, "{}", connectors.Misconfigured, "no_tls"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := openWith(t, env, fmt.Appendf(nil, "servers: ['%s://%s']\ntls: %s\nallow_cidrs: [127.0.0.0/8]\nmode: bucket\nbucket: things\n", c.scheme, c.address, c.tls))
			want(t, apply(t, conn, attempt(fmt.Sprint("k", len(name)), 1, "{}"))[0], c.class, c.code)
		})
	}
}

func TestServersThatAreNotFit(t *testing.T) {
	without := serve(t, &server.Options{})
	empty := serve(t, &server.Options{JetStream: true})
	for name, c := range map[string]struct {
		config []byte
		class  connectors.Class
		code   string
	}{
		"nobody there":       {lines("127.0.0.1:1", ""), connectors.Transient, connectors.CodeRefused},
		"network denied":     {[]byte("servers: ['nats://127.0.0.1:1']\nmode: bucket\nbucket: things\n"), connectors.Misconfigured, "address_denied"},
		"no bucket":          {lines(empty, ""), connectors.Misconfigured, "10059"},
		"no JetStream":       {lines(without, ""), connectors.Transient, connectors.CodeRefused},
		"the second of them": {fmt.Appendf(nil, "servers: ['nats://127.0.0.1:1', 'nats://%s']\nallow_cidrs: [127.0.0.0/8]\nmode: bucket\nbucket: things\n", empty), connectors.Misconfigured, "10059"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := openWith(t, connectortest.Env(nil), c.config)
			a := attempt("k", 1, "{}")
			a.Held = true
			want(t, apply(t, conn, a)[0], c.class, c.code)
			if err := conn.Probe(t.Context()); connectors.ClassOf(err) != c.class {
				t.Errorf("Probe: %v", err)
			}
		})
	}
	_, err := connectors.Open(t.Context(), connnats.Kind(), connectors.Host{}.Env("c"), lines("127.0.0.1:1", ""))
	if connectors.ClassOf(err) != connectors.Misconfigured {
		t.Errorf("opened beyond what the operator allows: %v", err)
	}
}

// A subject of another stream, or of none, is not written to.
func TestSubjectOfAnotherStream(t *testing.T) {
	d := newTarget(t, "stream")
	_, err := d.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other.>"}})
	testkit.Must(t, err)
	for subject, c := range map[string]struct {
		class connectors.Class
		code  string
	}{"other": {connectors.Misconfigured, "10060"}, "nothing": {connectors.Transient, "no_stream"}} {
		d.config = "mode: stream\nstream: THINGS\nsubject: " + subject + "\n"
		want(t, apply(t, d.open(t), attempt("k", 1, "{}"))[0], c.class, c.code)
	}
}
