package connectors_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

func allow(g connectors.Grant) connectors.Host {
	return connectors.Host{Allow: connectors.Allow{Grant: g}}
}

// write makes a file and returns its path.
func write(t *testing.T, path, content string) string {
	t.Helper()
	testkit.Must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	testkit.Must(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// link makes a link and returns its path.
func link(t *testing.T, to, path string) string {
	t.Helper()
	testkit.Must(t, os.Symlink(to, path))
	return path
}

// A channel had every variable and file of the worker sent to a target of its own.
func TestChannelsGetTheSecretsThatAreAllowed(t *testing.T) {
	dir := t.TempDir()
	secrets, outside := filepath.Join(dir, "secrets"), write(t, filepath.Join(dir, "outside", "key"), "canary")
	write(t, filepath.Join(secrets, "..1", "token"), "from a file\r\n")
	link(t, "..1", filepath.Join(secrets, "..data"))
	mounted := link(t, "..data/token", filepath.Join(secrets, "token")) // as Kubernetes does
	testkit.Must(t, syscall.Mkfifo(filepath.Join(secrets, "pipe"), 0o600))
	own := write(t, filepath.Join(secrets, "worker.creds"), "canary")
	testkit.Must(t, os.Link(own, filepath.Join(secrets, "hard")))
	write(t, filepath.Join(secrets, "large"), strings.Repeat("canary", 1<<18))
	write(t, filepath.Join(secrets, "empty"), "\n")
	for name, value := range map[string]string{
		"CHANNEL_TOKEN": "from the environment", "ERP_PASSWORD": "allowed by its name", "ERP_PASSWORD_2": "canary", "EXTSYNC_NATS_URL": "canary",
		"OTEL_EXPORTER_OTLP_HEADERS": "canary", "PGPASSWORD": "canary",
	} {
		t.Setenv(name, value)
	}
	host := allow(connectors.Grant{Env: connectors.List{"CHANNEL_*", "ERP_PASSWORD", "E*X"}, Files: connectors.List{secrets}})
	host.Own = []string{own, filepath.Join(dir, "gone")}
	env := host.Env("erp")
	for ref, want := range map[string]string{
		"plain $HOME": "plain $HOME", "a ${env:CHANNEL_TOKEN} b": "a from the environment b", "${env:ERP_PASSWORD}": "allowed by its name",
		"${file:" + mounted + "}": "from a file", "${file:" + secrets + "/./..data/../token}": "from a file",
	} {
		if got, err := env.Resolve(connectors.Ref(ref)); got != want || err != nil {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
	}
	for ref, says := range map[string]string{
		"${env:ERP_PASSWORD_2}": "allow.env", "${env:PGPASSWORD}": "EXTSYNC_ALLOW_ENV", "${env:HOME}": "channel erp",
		"${env:EXTSYNC_NATS_URL}": "extsync's own", "${env:OTEL_EXPORTER_OTLP_HEADERS}": "extsync's own", "${env:CHANNEL_NONE}": "CHANNEL_NONE is not set",
		"${file:" + outside + "}": "allow.files", "${file:/etc/passwd}": "allow.files", "${file:/proc/self/environ}": "allow.files", "${file:token}": "allow.files",
		"${file:" + secrets + "/../outside/key}": "allow.files", "${file:" + secrets + "}": "no regular file",
		"${file:" + link(t, outside, filepath.Join(secrets, "absolute")) + "}":              "absolute",
		"${file:" + link(t, "../outside/key", filepath.Join(secrets, "relative")) + "}":     "relative",
		"${file:" + link(t, filepath.Dir(outside), filepath.Join(secrets, "dir")) + "/key}": "dir/key",
		"${file:" + link(t, "/proc/self/environ", filepath.Join(secrets, "environ")) + "}":  "environ",
		"${file:" + own + "}": "extsync's own", "${file:" + filepath.Join(secrets, "hard") + "}": "extsync's own",
		"${file:" + filepath.Join(secrets, "pipe") + "}": "no regular file", "${file:" + filepath.Join(secrets, "large") + "}": "larger than",
		"${file:" + filepath.Join(secrets, "empty") + "}": "nothing in it", "${file:" + filepath.Join(secrets, "missing") + "}": "missing",
		"${env:CHANNEL_NO_1}${env:CHANNEL_NO_2}": "CHANNEL_NO_2",
	} {
		got, err := env.Resolve(connectors.Ref(ref))
		if !errors.Is(err, connectors.ErrSecret) || got != "" || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %q, %v", ref, got, err)
		}
		if connectors.ClassOf(fmt.Errorf("wrapped: %w", err)) != connectors.Misconfigured {
			t.Errorf("%s: class of %v", ref, err)
		}
	}
	if _, err := (connectors.Env{}).Resolve("${env:CHANNEL_TOKEN}"); !errors.Is(err, connectors.ErrSecret) {
		t.Errorf("nothing is allowed, and yet: %v", err)
	}
}

// Another channel's lists take the place of the general ones, those that are there.
func TestAllowedForOneChannel(t *testing.T) {
	var a connectors.Allow
	testkit.Must(t, connectors.DecodeStrict([]byte(`
env: [CHANNEL_*]
networks: [10.0.0.0/8]
databases: /var/lib/extsync
channels:
  erp: {env: [ERP_*], networks: []}
`), &a))
	erp, other := a.For("erp"), a.For("other")
	if erp.Env.String() != "ERP_*" || erp.Networks == nil || len(erp.Networks) != 0 || erp.Databases.String() != "/var/lib/extsync" {
		t.Errorf("erp: %+v", erp)
	}
	if other.Env.String() != "CHANNEL_*" || other.Networks.String() != "10.0.0.0/8" {
		t.Errorf("other: %+v", other)
	}
	// A refusal names the list that has decided, and is one for those who look for its kind.
	host := connectors.Host{Allow: a}
	for channel, setting := range map[string]string{"erp": "allow.channels.erp.env (EXTSYNC_ALLOW_CHANNELS)", "other": "allow.env (EXTSYNC_ALLOW_ENV)"} {
		_, err := host.Env(channel).Resolve("${env:HOME}")
		if !strings.Contains(fmt.Sprint(err), setting) || !errors.Is(err, connectors.ErrNotAllowed) || !errors.Is(err, connectors.ErrSecret) {
			t.Errorf("%s: %v; want it to name %s", channel, err, setting)
		}
	}
}

func TestAllowNamesEveryBadEntry(t *testing.T) {
	h := allow(connectors.Grant{
		Env: connectors.List{"*", "EXTSYNC_*", "OTEL_EXPORTER", "A B"}, Files: connectors.List{"/", "secrets", "/proc/self"},
		Networks: connectors.List{"10.0.0.1/8", "x"}, Databases: connectors.List{"/dev/shm"},
		Programs: connectors.List{"bin/x"},
	})
	h.Allow.Channels = connectors.Grants{"erp": {Files: connectors.List{"/sys"}}}
	err := h.Validate()
	for _, want := range []string{
		`allow.env: "*"`, `"EXTSYNC_*"`, `"OTEL_EXPORTER"`, `"A B"`, `allow.files: "/"`, `"secrets"`, `"/proc/self"`, "allow.networks:", `"10.0.0.1/8"`, `"x"`, "allow.databases:",
		"allow.programs: \"bin/x\"", "allow.channels.erp.files",
	} {
		if !errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	if err := (connectors.Host{Allow: connectors.DefaultAllow()}).Validate(); err != nil {
		t.Error(err)
	}
}

// A channel set allow_cidrs to every network there is.
func TestChannelsChooseAmongTheNetworksThatAreAllowed(t *testing.T) {
	env := allow(connectors.Grant{Networks: connectors.List{"10.0.0.0/8", "fd12::/32"}}).Env("erp")
	for _, fine := range [][]string{nil, {"10.0.0.0/8"}, {"10.20.0.0/16", "fd12::/64"}} {
		if _, err := env.Dialer(fine); err != nil {
			t.Errorf("%v: %v", fine, err)
		}
	}
	for _, beyond := range [][]string{{"0.0.0.0/0"}, {"10.0.0.0/7"}, {"10.1.0.0/16", "127.0.0.0/8"}, {"::/0"}, {"fd12::/16"}, {"169.254.169.254/32"}} {
		_, err := env.Dialer(beyond)
		if connectors.ClassOf(err) != connectors.Misconfigured || !strings.Contains(err.Error(), "allow.networks") || !strings.Contains(err.Error(), beyond[len(beyond)-1]) {
			t.Errorf("%v: %v", beyond, err)
		}
	}
	// What is allowed is not reached unless the channel chooses it.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	testkit.Must(t, err)
	defer func() { _ = l.Close() }()
	loopback := allow(connectors.Grant{Networks: connectors.List{"127.0.0.0/8"}}).Env("erp")
	for _, chosen := range [][]string{nil, {"127.0.0.0/8"}} {
		d, err := loopback.Dialer(chosen)
		testkit.Must(t, err)
		conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
		if (err == nil) != (chosen != nil) {
			t.Errorf("%v: %v", chosen, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	// A preview reaches nothing, whatever is allowed.
	d, err := loopback.ForPreview(connectors.Hidden).Dialer([]string{"127.0.0.0/8"})
	testkit.Must(t, err)
	if _, err := d.DialContext(t.Context(), "tcp", l.Addr().String()); err == nil {
		t.Error("a preview has connected")
	}
}

// A channel had a database written wherever the worker may write.
func TestDatabasesAreInAllowedDirectories(t *testing.T) {
	dir := t.TempDir()
	data, outside := filepath.Join(dir, "data"), filepath.Join(dir, "outside")
	write(t, filepath.Join(data, "sub", "there.db"), "x")
	foreign := write(t, filepath.Join(outside, "foreign.db"), "x")
	own := write(t, filepath.Join(data, "worker.key"), "x")
	host := allow(connectors.Grant{Databases: connectors.List{link(t, "data", filepath.Join(dir, "mounted"))}})
	host.Own = []string{own}
	env := host.Env("erp")
	in := func(name string) string { return filepath.Join(dir, "mounted", name) }
	for path, want := range map[string]string{
		in("new.db"): "new.db", in("sub/there.db"): "sub/there.db", in("sub/../new.db"): "new.db", in("sub/new.db"): "sub/new.db",
		link(t, "there.db", filepath.Join(data, "sub", "inside.db")): "",
	} {
		got, err := env.DataPath(path)
		if want == "" { // by another name of the directory than is allowed
			if err == nil {
				t.Errorf("%s: %s", path, got)
			}
			continue
		}
		if err != nil || got != filepath.Join(data, want) {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	link(t, foreign, filepath.Join(data, "absolute.db"))
	link(t, "../outside/none.db", filepath.Join(data, "nothing.db"))
	link(t, outside, filepath.Join(data, "elsewhere"))
	for _, path := range []string{
		foreign, in("../outside/foreign.db"), in("absolute.db"), in("nothing.db"), in("elsewhere/foreign.db"), in("elsewhere/new.db"), in("worker.key"),
		"/etc/passwd", "new.db", in("missing/new.db"), "",
	} {
		if got, err := env.DataPath(path); connectors.ClassOf(err) != connectors.Misconfigured || got != "" {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if _, err := env.DataPath("/etc/passwd"); !strings.Contains(err.Error(), "allow.databases") {
		t.Error(err)
	}
	socket, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(outside, "s"))
	testkit.Must(t, err)
	defer func() { _ = socket.Close() }()
	d, err := env.Dialer(nil)
	testkit.Must(t, err)
	if _, err := d.DialContext(t.Context(), "unix", filepath.Join(outside, "s")); connectors.ClassOf(err) != connectors.Misconfigured {
		t.Errorf("a socket that is not allowed: %v", err)
	}
}
