package connfile_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connfile"
	"github.com/hms-utl/extsync/pkg/events"
)

// A relay in front of the real sftp-server loses answers, hangs and refuses single steps.
func TestSFTPConformsThroughFaults(t *testing.T) {
	for name, layout := range layouts() {
		t.Run(name, func(t *testing.T) {
			r := newRelay(t, nil)
			suite := r.target(t).suite(layout)
			suite.Secrets = []string{password}
			suite.Slow = true // without the relay it is not
			suite.OwnGoroutines = relayGoroutines()
			suite.LoseAnswer = func(*testing.T) func() {
				var lost atomic.Pointer[packet] // the request whose answer is
				r.set(hooks{
					asked: func(p packet) {
						marker := p.is(typeOpen) && bytes.Contains(p, []byte(".done"))
						if marker || p.extension() == "posix-rename@openssh.com" && !strings.Contains(layout, "drop") {
							p = bytes.Clone(p)
							lost.Store(&p)
						}
					},
					answered: func(p packet) packet {
						if ask := lost.Load(); ask != nil && bytes.Equal(p[1:5], (*ask)[1:5]) {
							r.cut()
							return nil
						}
						return p
					},
				})
				return func() { r.set(hooks{}) }
			}
			suite.Hang = func(*testing.T, string) func() {
				released := make(chan struct{})
				r.set(hooks{asked: func(p packet) {
					if p.is(typeOpen) {
						<-released
					}
				}})
				return func() { r.set(hooks{}); close(released) }
			}
			for _, f := range []struct {
				name   string
				code   uint32
				class  connectors.Class
				says   string
				starts byte
			}{
				{"failure", 4, connectors.Transient, "sftp", typeOpen},
				{"permission", 3, connectors.Misconfigured, "permission", typeOpen},
				{"unsupported", 8, connectors.Misconfigured, "unsupported", typeOpen},
				{"bad message", 5, connectors.Transient, "sftp", typeWrite},
				{"disk full", 4, connectors.Transient, "sftp", typeWrite},
				{"no fsync", 4, connectors.Transient, "sftp", typeExtended},
			} {
				suite.Faults = append(suite.Faults, connectortest.Fault{
					Name: f.name, Want: f.class, Code: f.says,
					Arm: func(*testing.T, *events.Update) func() {
						r.set(hooks{answer: func(p packet) packet {
							if p.is(f.starts) {
								return p.status(f.code)
							}
							return nil
						}})
						return func() { r.set(hooks{}) }
					},
				})
			}
			connectortest.Run(t, suite)
		})
	}
}

func relayGoroutines() []string {
	return []string{
		"github.com/hms-utl/extsync/pkg/connectors/connfile_test.(*relay).serve",
		"github.com/hms-utl/extsync/pkg/connectors/connfile_test.pass",
		"github.com/hms-utl/extsync/pkg/connectors/connfile_test.(*relay).session",
		"github.com/hms-utl/extsync/pkg/connectors/connfile_test.(*relay).serve.func1",
		"golang.org/x/crypto/ssh.(*mux).loop", "golang.org/x/crypto/ssh.(*handshakeTransport).readLoop",
		"golang.org/x/crypto/ssh.(*handshakeTransport).kexLoop", "golang.org/x/crypto/ssh.DiscardRequests",
		"os/exec.(*Cmd).watchCtx",
	}
}

// The server is killed with all its sessions while calls are on their way, and comes back.
func TestServerKilledInTheMiddleOfCalls(t *testing.T) {
	for _, layout := range []string{"versions", "current"} {
		t.Run(layout, func(t *testing.T) {
			s := testdb.StartSSHD(t)
			d := sftpTarget(t, s)
			text := "layout: " + layout + "\n"
			c := d.connect(t, text)
			const keys, versions, kills = 16, 20, 3
			var written, failed atomic.Int64
			kill := make(chan struct{}, 1) // asked for by whoever has got far enough
			var writers, killer sync.WaitGroup
			stop := make(chan struct{})
			var down sync.RWMutex // held while it is
			killer.Go(func() {
				for range kills {
					select {
					case <-kill:
					case <-stop:
						return
					}
					down.Lock()
					s.Stop(t)
					s.Start(t)
					down.Unlock()
				}
			})
			for k := range keys {
				writers.Go(func() {
					for v := int64(1); v <= versions; v++ {
						a := attempt(fmt.Sprintf("key-%02d", k), v, fmt.Sprintf(`{"v":%d}`, v))
						for res := apply(t, c, a); res.Class != connectors.OK; res = apply(t, c, a) {
							// A session whose processes die one after the other can say no to SFTP
							// before it is gone; the engine tries that again, too.
							if res.Class != connectors.Transient && res.Code != "login" {
								t.Errorf("%s@%d: %s, %v", a.Key, v, res.Class, res.Err)
								return
							}
							failed.Add(1)
							down.RLock()
							down.RUnlock() //nolint:staticcheck // it has waited until the server is back
						}
						if n := written.Add(1); n%(keys*versions/(kills+1)) == 0 {
							select {
							case kill <- struct{}{}:
							default:
							}
						}
					}
				})
			}
			writers.Wait()
			close(stop)
			killer.Wait()
			if failed.Load() == 0 {
				t.Error("no call met a server that was killed")
			}
			t.Logf("%d calls failed", failed.Load())
			for k := range keys { // what a killed call could not tidy up the next one does
				a := attempt(fmt.Sprintf("key-%02d", k), versions+1, fmt.Sprintf(`{"v":%d}`, versions+1))
				if res := apply(t, c, a); res.Class != connectors.OK {
					t.Errorf("%s@%d: %s, %v", a.Key, versions+1, res.Class, res.Err)
				}
			}
			for k := range keys {
				name := fmt.Sprintf("key-%02d", k)
				file, siblings := filepath.Join(d.dir, name+".json"), 1
				if layout == "versions" {
					file = filepath.Join(d.dir, name, connfile.VersionName(testkit.Number(versions+1))+".json")
					visible := slices.DeleteFunc(names(t, filepath.Dir(file)), func(n string) bool { return strings.HasPrefix(n, ".") })
					siblings = len(visible)
				}
				data, err := os.ReadFile(file)
				if err != nil || string(data) != fmt.Sprintf(`{"v":%d}`, versions+1) || siblings != 1 {
					t.Errorf("%s: %q, %v; %d files", name, data, err, siblings)
				}
			}
		})
	}
}

// The host key is checked, in each form in which it can be given.
func TestHostKeys(t *testing.T) {
	r := newRelay(t, nil)
	d := r.target(t)
	line := func(i int) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(r.keys[i].PublicKey()))) }
	finger := func(i int) string { return ssh.FingerprintSHA256(r.keys[i].PublicKey()) }
	host, port, _ := strings.Cut(r.listener.Addr().String(), ":")
	other := newRelay(t, nil)
	strange := ssh.FingerprintSHA256(other.keys[0].PublicKey())
	strangeLine := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(other.keys[0].PublicKey())))
	for name, c := range map[string]struct {
		keys []string
		code string // "" where it gets in
	}{
		"fingerprint":                      {[]string{finger(0)}, ""},
		"fingerprint of another type":      {[]string{finger(1)}, ""},
		"public key":                       {[]string{line(1)}, ""},
		"line of known_hosts":              {[]string{fmt.Sprintf("other.example,[%s]:%s %s a comment", host, port, line(0))}, ""},
		"one of many":                      {[]string{strange, finger(1)}, ""},
		"a key and a fingerprint":          {[]string{strangeLine, finger(1)}, ""},
		"fingerprint of another server":    {[]string{strange}, "host_key"},
		"public key of another server":     {[]string{strangeLine}, "host_key"},
		"public key of a type that is not": {[]string{testKeyRSA}, "algorithms"},
	} {
		t.Run(name, func(t *testing.T) {
			before := r.logins.Load()
			d.config = sftpConfig(r.listener.Addr().String(), "joe", c.keys...) + "password: ${env:CHANNEL_PASSWORD}\ndirectory: .\n"
			conn := d.connect(t, "")
			err := conn.Probe(t.Context())
			if c.code == "" {
				testkit.Must(t, err)
				return
			}
			var e *connectors.Error
			if !errors.As(err, &e) || e.Class != connectors.Misconfigured || e.Code != c.code {
				t.Fatalf("Probe: %v, want %s", err, c.code)
			}
			if c.code == "host_key" && !strings.Contains(err.Error(), finger(0)) && !strings.Contains(err.Error(), finger(1)) {
				t.Errorf("%v does not say which key the server has", err)
			}
			if r.logins.Load() != before {
				t.Error("somebody logged in at a server that is not the one")
			}
		})
	}
}

const testKeyRSA = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDCvLJBcmuhrpXTPUsg1IZ4BtWHnZvHAoQ3LVmCnPGpAyMPgyfUYMTZKQoH4SF0AyiHgu6VdrVlVEPAwkcGmIuKSyaN5EuoBRBnHhbyTBYJ4jRaMEzgHLk0gV9Pn1IWbGmbUCjJdfFY6GqGbFrsHVdWnRaHHlLAgeEhDTC3e+Fh5Q=="

func TestLogin(t *testing.T) {
	t.Run("keyboard-interactive", func(t *testing.T) {
		r := newRelay(t, func(c *ssh.ServerConfig) {
			c.PasswordCallback = nil
			c.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
				answers, err := ask("", "", []string{"Password: "}, []bool{false})
				if err != nil || len(answers) != 1 || answers[0] != password {
					return nil, errors.New("wrong")
				}
				return nil, nil
			}
		})
		testkit.Must(t, r.target(t).connect(t, "").Probe(t.Context()))
	})
	t.Run("a question that is no password's", func(t *testing.T) {
		r := newRelay(t, func(c *ssh.ServerConfig) {
			c.PasswordCallback = nil
			c.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
				if _, err := ask("", "", []string{"Your name: "}, []bool{true}); err == nil {
					t.Error("the password was shown")
				}
				return nil, errors.New("wrong")
			}
		})
		wantError(t, r.target(t).connect(t, "").Probe(t.Context()), connectors.Misconfigured, "login")
	})
	t.Run("wrong password", func(t *testing.T) {
		d := newRelay(t, nil).target(t)
		d.secrets["CHANNEL_PASSWORD"] = "another"
		c := d.connect(t, "")
		wantError(t, c.Probe(t.Context()), connectors.Misconfigured, "login")
		want(t, apply(t, c, attempt("k", 1, "{}")), connectors.Misconfigured, "login")
	})
	t.Run("nobody listens", func(t *testing.T) {
		r := newRelay(t, nil)
		d := r.target(t)
		testkit.Must(t, r.listener.Close())
		wantError(t, d.connect(t, "").Probe(t.Context()), connectors.Transient, connectors.CodeRefused)
	})
	t.Run("a network that is not allowed", func(t *testing.T) {
		d := newRelay(t, nil).target(t)
		d.config = strings.Replace(d.config, "127.0.0.0/8", "10.0.0.0/8", 1)
		if _, err := d.tryOpen(t, ""); connectors.ClassOf(err) != connectors.Misconfigured {
			t.Errorf("open: %v", err)
		}
	})
}

func wantError(t testing.TB, err error, class connectors.Class, code string) {
	t.Helper()
	var e *connectors.Error
	if !errors.As(err, &e) || e.Class != class || e.Code != code {
		t.Errorf("%v; want class %s, code %q", err, class, code)
	}
	if err != nil && strings.Contains(err.Error(), password) {
		t.Errorf("the password is in %v", err)
	}
}

// What a layout needs and a server does not offer is said before anything is written.
func TestServerWithoutExtensions(t *testing.T) {
	r := newRelay(t, nil)
	r.set(hooks{answered: func(p packet) packet {
		if p.is(typeVersion) {
			return p[:5] // without what is offered
		}
		return p
	}})
	d := r.target(t)
	for layout, code := range map[string]string{"versions": "no_links", "current": "no_rename"} {
		c := d.connect(t, "layout: "+layout+"\n")
		wantError(t, c.Probe(t.Context()), connectors.Misconfigured, code)
		want(t, apply(t, c, attempt("k", 1, "{}")), connectors.Misconfigured, code)
	}
	c := d.connect(t, "layout: drop\n")
	testkit.Must(t, c.Probe(t.Context()))
	for range 2 { // the second time the name is taken
		want(t, apply(t, c, attempt("k", 1, "{}")), connectors.OK, "")
	}
	if _, err := os.Stat(filepath.Join(d.dir, "k.0000000000000000001.json.done")); err != nil {
		t.Error(err)
	}
}

// A connection on which a step is not answered gets no new calls, and ends with the last one
// that it has.
func TestConnectionThatDoesNotAnswer(t *testing.T) {
	r := newRelay(t, nil)
	c := r.target(t).connect(t, "layout: current\nconnections: 1\n")
	ctx, cancel := context.WithCancel(t.Context())
	released := make(chan struct{})
	var met atomic.Bool
	r.set(hooks{asked: func(p packet) {
		if p.is(typeOpen) && met.CompareAndSwap(false, true) {
			cancel()
			<-released
		}
	}})
	want(t, c.Apply(ctx, []connectors.Attempt{attempt("k", 1, "{}")})[0], connectors.Transient, "canceled")
	want(t, apply(t, c, attempt("k", 2, "{}")), connectors.OK, "")
	if n := r.logins.Load(); n != 2 {
		t.Errorf("%d connections were made", n)
	}
	close(released)
}

// A server that wants no more connections is not asked for more, and calls share those that
// there are.
func TestServerThatWantsOneConnection(t *testing.T) {
	r := newRelay(t, nil)
	c := r.target(t).connect(t, "layout: current\nconnections: 8\n")
	testkit.Must(t, c.Probe(t.Context()))
	testkit.Must(t, r.listener.Close())
	var calls sync.WaitGroup
	for i := range connectortest.Concurrency {
		calls.Go(func() { want(t, apply(t, c, attempt(fmt.Sprintf("k%d", i), 1, "{}")), connectors.OK, "") })
	}
	calls.Wait()
}

// A listing that does not end takes bounded memory, and fails alone.
func TestEndlessListing(t *testing.T) {
	r := newRelay(t, nil)
	const names = 800
	page := binary.BigEndian.AppendUint32(nil, names) // made once: hundreds are read
	for range names {
		for range 2 {
			page = append(binary.BigEndian.AppendUint32(page, 120), strings.Repeat("n", 120)...)
		}
		page = binary.BigEndian.AppendUint32(page, 0) // no attributes
	}
	var pages atomic.Int64
	r.set(hooks{answer: func(p packet) packet {
		if !p.is(typeReaddir) {
			return nil
		}
		pages.Add(1)
		return append(append(packet{typeName}, p[1:5]...), page...)
	}})
	d := r.target(t)
	testkit.Must(t, os.Mkdir(filepath.Join(d.dir, "k"), 0o700))
	c := d.connect(t, "layout: versions\n")
	want(t, apply(t, c, attempt("k", 1, "{}")), connectors.Transient, "too_long")
	if n := pages.Load(); n < 2 || n > 1000 {
		t.Errorf("%d pages were read", n)
	}
	r.set(hooks{})
	want(t, apply(t, c, attempt("k", 1, "{}")), connectors.OK, "")
}

// Answers that nobody asked for, of no known form, or cut short end the connection and
// nothing else.
func TestHostileAnswers(t *testing.T) {
	r := newRelay(t, nil)
	c := r.target(t).connect(t, "layout: versions\n")
	for name, answer := range map[string]func(p packet) packet{
		"another id":   func(p packet) packet { return append(packet{typeStatus, 255, 255, 255, 255}, p.status(0)[5:]...) },
		"another type": func(p packet) packet { return append(packet{77}, p[1:5]...) },
		"a type":       func(packet) packet { return packet{typeStatus} },
		"cut short":    func(p packet) packet { return p.status(0)[:6] },
		"many names": func(p packet) packet {
			return append(append(packet{typeName}, p[1:5]...), 255, 255, 255, 255)
		},
		"a huge text": func(p packet) packet {
			return append(append(packet{typeStatus}, p[1:5]...), 0, 0, 0, 4, 255, 255, 255, 255)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r.set(hooks{answer: func(p packet) packet {
				if p.is(typeInit) { // a connection is made as ever
					return nil
				}
				return answer(p)
			}})
			ctx, cancel := context.WithTimeout(t.Context(), connectortest.Timeout)
			defer cancel()
			res := c.Apply(ctx, []connectors.Attempt{attempt("k", 1, "{}")})[0]
			if res.Class != connectors.Transient {
				t.Errorf("class %s, code %q, %v", res.Class, res.Code, res.Err)
			}
		})
	}
}
