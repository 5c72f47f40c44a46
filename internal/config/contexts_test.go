package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/hms-utl/extsync/internal/broker"
)

// TestContextCountsWhereNothingElseSaysWhichBroker: what is set otherwise wins over a context,
// and one that is merely in use does not lend its credentials to another broker.
func TestContextCountsWhereNothingElseSaysWhichBroker(t *testing.T) {
	contexts := Contexts{Dir: filepath.Join(t.TempDir(), "contexts")}
	for name, url := range map[string]string{"prod": "nats://prod:4222", "test": "nats://test:4222"} {
		if err := contexts.Save(name, Context{NATS: broker.Config{URL: url, CredsFile: "/" + name + ".creds"}, Prefix: name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := contexts.Use("prod"); err != nil {
		t.Fatal(err)
	}
	file := write(t, "nats: {url: 'nats://file:4222'}\n")
	for name, tt := range map[string]struct {
		args, env                       []string
		chosen, url, creds, prefix, was string
	}{
		"in use":                   {url: "nats://prod:4222", creds: "/prod.creds", prefix: "prod", was: "prod"},
		"another part by flag":     {args: []string{"--prefix=mine"}, url: "nats://prod:4222", creds: "/prod.creds", prefix: "mine", was: "prod"},
		"by flag":                  {chosen: "test", url: "nats://test:4222", creds: "/test.creds", prefix: "test", was: "test"},
		"by variable":              {env: []string{"EXTSYNC_CONTEXT=test"}, url: "nats://test:4222", creds: "/test.creds", prefix: "test", was: "test"},
		"the flag wins":            {chosen: "prod", env: []string{"EXTSYNC_CONTEXT=test"}, url: "nats://prod:4222", creds: "/prod.creds", prefix: "prod", was: "prod"},
		"a broker by flag":         {args: []string{"--nats-url=nats://flag:4222"}, url: "nats://flag:4222", prefix: "sync"},
		"a broker by variable":     {env: []string{"EXTSYNC_NATS_URL=nats://env:4222"}, url: "nats://env:4222", prefix: "sync"},
		"a file":                   {args: []string{"--config=" + file}, url: "nats://file:4222", prefix: "sync"},
		"both are named":           {chosen: "test", args: []string{"--nats-url=nats://flag:4222"}, url: "nats://flag:4222", creds: "/test.creds", prefix: "test", was: "test"},
		"both are named in a file": {chosen: "test", args: []string{"--config=" + file}, url: "nats://file:4222", creds: "/test.creds", prefix: "test", was: "test"},
	} {
		t.Run(name, func(t *testing.T) {
			l := NewLoader()
			fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
			l.Declare(fs, GroupCommon, GroupNATS)
			l.UseContexts(contexts, &tt.chosen)
			if err := fs.Parse(tt.args); err != nil {
				t.Fatal(err)
			}
			c, err := l.Load(tt.env)
			if err != nil {
				t.Fatal(err)
			}
			if c.NATS.URL != tt.url || c.NATS.CredsFile != tt.creds || c.Prefix != tt.prefix || c.Context != tt.was {
				t.Errorf("broker %s, credentials %q, prefix %s, context %q", c.NATS.URL, c.NATS.CredsFile, c.Prefix, c.Context)
			}
		})
	}
}

// Services take no context, and say so.
func TestServicesRefuseContexts(t *testing.T) {
	_, err := load(t, "", []string{"EXTSYNC_CONTEXT=prod"}, nil)
	if err == nil || !strings.Contains(err.Error(), ContextEnv) {
		t.Errorf("%v", err)
	}
}

func TestContextFiles(t *testing.T) {
	contexts := ContextsOf([]string{"HOME=/nowhere", "XDG_CONFIG_HOME=" + t.TempDir()})
	if names, err := contexts.List(); err != nil || len(names) != 0 {
		t.Fatalf("%v %v", names, err)
	}
	if err := contexts.Use("prod"); !errors.Is(err, ErrContext) {
		t.Errorf("a context that is not there: %v", err)
	}
	for _, name := range []string{"", ".", "..", "../x", "a/b", "-x", "a b", strings.Repeat("x", 65), "a\x00b"} {
		if err := contexts.Save(name, Context{}); !errors.Is(err, ErrContext) {
			t.Errorf("%q is a name: %v", name, err)
		}
	}
	if err := contexts.Save("prod", Context{NATS: broker.Config{URL: "nats://u:p@h:1"}}); err != nil {
		t.Fatal(err)
	}
	path, err := contexts.Path("prod")
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read it: %v %v", info, err)
	}
	if err := errors.Join(contexts.Use("prod"), contexts.Remove("prod")); err != nil {
		t.Fatal(err)
	}
	if current, err := contexts.Current(); err != nil || current != "" {
		t.Errorf("%q is in use: %v", current, err)
	}
	for content, part := range map[string]string{
		"natz: {}\n":               "natz",
		"nats: {url: 'ftp://x'}\n": "nats.url",
		"storage: {}\n":            "storage",
		"\x00":                     "prod.yaml",
		"prefix: 'a b'\n":          "prefix",
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := contexts.Read("prod"); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is read: %v", content, err)
		}
	}
	if err := errors.Join(os.WriteFile(path, []byte("prefix: sync\n"), 0o600), contexts.Use("prod"), os.Chmod(path, 0o666)); err != nil { //nolint:gosec // what is to be refused
		t.Fatal(err)
	}
	if _, err := contexts.Read("prod"); err == nil || !strings.Contains(err.Error(), "others may write") {
		t.Errorf("a context that others may write is read: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for env, part := range map[string]string{"": "context use --none", "EXTSYNC_CONTEXT=gone": "EXTSYNC_CONTEXT names it"} {
		l := NewLoader()
		l.UseContexts(contexts, new(string))
		if _, err := l.Load([]string{env}); !errors.Is(err, ErrContext) || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v", env, err)
		}
	}
	if none := ContextsOf(nil); none.Save("x", Context{}) == nil {
		t.Error("nobody says where contexts are kept")
	}
}
