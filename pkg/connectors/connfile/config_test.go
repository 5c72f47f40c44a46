package connfile_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connfile"
)

const fingerprint = "SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s"

const edwardsKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

func TestConfigurations(t *testing.T) {
	for _, kind := range []connectors.Kind{connfile.File(), connfile.SFTP()} {
		if lacks := kind.Fields().Lint(); len(lacks) > 0 {
			t.Error(lacks)
		}
	}
	sftp := func(more string) string {
		return "host: sftp.example\nuser: joe\ndirectory: /in\nhost_keys: ['" + fingerprint + "']\npassword: ${env:CHANNEL_PASSWORD}\n" + more
	}
	hostKeys := func(line string) string {
		return strings.Replace(sftp("port: 2222\n"), fingerprint, line, 1)
	}
	for _, c := range []struct{ kind, config, says string }{ // says "": it is good
		{"file", "directory: /in", ""},
		{"file", "{}", "directory"},
		{"file", "directory: in", "absolute"},
		{"file", "directory: /in\nlayout: other", "layout"},
		{"file", "directory: /in\nextension: JSON", "extension"},
		{"file", "directory: /in\nextension: deleted", "extension"},
		{"file", "directory: /in\nextension: a.b", "extension"},
		{"file", "directory: /in\nhost: example", "host"},
		{"file", "directory: /in\nlayout: drop\nbatch: csv\nmax_batch: 1", "max_batch"},
		{"sftp", sftp(""), ""},
		{"sftp", sftp("private_key: ${env:CHANNEL_KEY}\npassphrase: ${env:CHANNEL_PASS}\n"), ""},
		{"sftp", sftp("passphrase: ${env:CHANNEL_PASS}\n"), "passphrase"},
		{"sftp", strings.Replace(sftp(""), "${env:CHANNEL_PASSWORD}", "hunter2", 1), "password"},
		{"sftp", strings.Replace(sftp(""), "password", "no_password", 1), "password"},
		{"sftp", strings.Replace(sftp(""), "host: sftp.example", "host: 10.0.0.1", 1), "host"},
		{"sftp", sftp("allow_cidrs: [x]\n"), "allow_cidrs"},
		{"sftp", strings.Replace(sftp(""), "host_keys", "keys", 1), "host_keys"},
		{"sftp", hostKeys(""), "host_keys[0]"},
		{"sftp", hostKeys("SHA256:short"), "host_keys[0]"},
		{"sftp", hostKeys("MD5:00:11"), "host_keys[0]"},
		{"sftp", hostKeys(edwardsKey), ""},
		{"sftp", hostKeys("[SFTP.example]:2222,x " + edwardsKey), ""},
		{"sftp", hostKeys("sftp.example " + edwardsKey), "[sftp.example]:2222"},
		{"sftp", hostKeys("* " + edwardsKey), "[sftp.example]:2222"},
		{"sftp", hostKeys("|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= " + edwardsKey), "hashed"},
		{"sftp", hostKeys("@revoked [sftp.example]:2222 " + edwardsKey), "@revoked"},
	} {
		kind := connfile.File()
		if c.kind == "sftp" {
			kind = connfile.SFTP()
		}
		err := kind.Check([]byte(c.config))
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s\n%v; want an error that says %q", c.config, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %v", err)
		}
	}
}

// The directory must be one that the operator allows.
func TestDirectoryThatIsNotAllowed(t *testing.T) {
	dir := t.TempDir()
	host := connectors.Host{Allow: connectors.Allow{Grant: connectors.Grant{Databases: connectors.List{filepath.Join(dir, "allowed")}}}}
	testkit.Must(t, os.Mkdir(filepath.Join(dir, "allowed"), 0o700))
	testkit.Must(t, os.Symlink(dir, filepath.Join(dir, "allowed", "out")))
	for _, path := range []string{dir, filepath.Join(dir, "allowed", ".."), filepath.Join(dir, "allowed", "out")} {
		_, err := connectors.Open(t.Context(), connfile.File(), host.Env("c"), fmt.Appendf(nil, "directory: %q", path))
		if !errors.Is(err, connectors.ErrNotAllowed) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestPrivateKeys(t *testing.T) {
	s := testdb.StartSSHD(t)
	d := sftpTarget(t, s)
	good := s.PrivateKey
	d.secrets["CHANNEL_PASS"] = "open sesame"
	for name, c := range map[string]struct{ key, more, says string }{
		"good":                          {good, "", ""},
		"not a key":                     {"-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----\n", "", "no private key in PEM"},
		"encrypted, without passphrase": {encryptedKey(t, "open sesame"), "", "give passphrase"},
		"encrypted, wrong passphrase":   {encryptedKey(t, "another"), "passphrase: ${env:CHANNEL_PASS}\n", "passphrase opens"},
		"encrypted":                     {encryptedKey(t, "open sesame"), "passphrase: ${env:CHANNEL_PASS}\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d.secrets["CHANNEL_KEY"] = c.key
			conn, err := d.tryOpen(t, c.more)
			if c.says != "" {
				if connectors.ClassOf(err) != connectors.Misconfigured || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "sesame") {
					t.Errorf("%v, want an error that says %q", err, c.says)
				}
				return
			}
			testkit.Must(t, err)
			defer conn.Close(t.Context()) //nolint:errcheck // it is tested elsewhere
			err = conn.Probe(t.Context())
			if name == "good" {
				testkit.Must(t, err)
			} else { // a key that the server does not know
				wantError(t, err, connectors.Misconfigured, "login")
			}
		})
	}
}

func encryptedKey(t testing.TB, passphrase string) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	testkit.Must(t, err)
	block, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	testkit.Must(t, err)
	return string(pem.EncodeToMemory(block))
}

// A directory without a slash in front begins where the user is.
func TestDirectoryBelowTheLogin(t *testing.T) {
	s := testdb.StartSSHD(t)
	d := sftpTarget(t, s)
	d.config = sftpConfig(s.Addr(), s.User, s.HostKey) + "private_key: ${env:CHANNEL_KEY}\ndirectory: in/box\nlayout: current\n"
	c := d.connect(t, "")
	want(t, apply(t, c, attempt("k", 1, "{}")), connectors.Misconfigured, "missing")
	t.Cleanup(func() { testkit.Must(t, os.RemoveAll(filepath.Join(s.Dir, "in"))) }) // which the server may not
	for _, dir := range []string{"in", "in/box"} {
		testkit.Must(t, os.Mkdir(filepath.Join(s.Dir, dir), 0o777))
		testkit.Must(t, os.Chmod(filepath.Join(s.Dir, dir), 0o777)) //nolint:gosec // the server is another user where the test is root
	}
	want(t, apply(t, c, attempt("k", 1, "{}")), connectors.OK, "")
	wantNames(t, filepath.Join(s.Dir, "in/box"), "k.json")
	testkit.Must(t, os.Chmod(filepath.Join(s.Dir, "in/box"), 0o555)) //nolint:gosec // for the test
	want(t, apply(t, c, attempt("k", 2, "{}")), connectors.Misconfigured, "permission")
}
