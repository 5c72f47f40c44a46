package broker_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/pkg/connectors"
)

func TestValidate(t *testing.T) {
	const secret = "s3cret"
	tests := map[string]struct {
		config broker.Config
		names  []string // nil: valid
	}{
		"plain":            {config: broker.Config{URL: "nats://127.0.0.1:4222"}},
		"no scheme":        {config: broker.Config{URL: "nats.example.test"}},
		"several":          {config: broker.Config{URL: "nats://a:4222, tls://b:4222 ,c"}},
		"websocket":        {config: broker.Config{URL: "wss://a/path"}},
		"IPv6":             {config: broker.Config{URL: "nats://[::1]:4222"}},
		"user in the URL":  {config: broker.Config{URL: "nats://user:" + secret + "@a"}},
		"everything":       {config: broker.Config{URL: "a", CredsFile: "f", TLS: broker.TLS{CAFile: "a", CertFile: "b", KeyFile: "c"}, Name: "n", InboxPrefix: "_INBOX_worker"}},
		"deep inbox":       {config: broker.Config{URL: "a", InboxPrefix: "_INBOX.worker.7"}},
		"nothing":          {broker.Config{}, []string{"url", "missing", "nats://127.0.0.1:4222"}},
		"only commas":      {broker.Config{URL: " , "}, []string{"url", "missing"}},
		"other scheme":     {broker.Config{URL: "http://user:" + secret + "@a"}, []string{"url", "address 1"}},
		"no host":          {broker.Config{URL: "a,nats://:4222"}, []string{"url", "address 2"}},
		"unreadable":       {broker.Config{URL: "nats://user:" + secret + "/x@host:4222"}, []string{"url", "address 1", "%XX"}},
		"control byte":     {broker.Config{URL: "nats://user:" + secret + "\x01@host"}, []string{"url"}},
		"two identities":   {broker.Config{URL: "a", CredsFile: "f", NKeySeedFile: "g"}, []string{"nkey_seed_file", "creds_file"}},
		"cert without key": {broker.Config{URL: "a", TLS: broker.TLS{CertFile: "c"}}, []string{"tls", "key_file"}},
		"key without cert": {broker.Config{URL: "a", TLS: broker.TLS{KeyFile: "k"}}, []string{"tls", "cert_file"}},
		"other inbox":      {broker.Config{URL: "a", InboxPrefix: "sync.updates"}, []string{"inbox_prefix", "_INBOX"}},
		"wildcard inbox":   {broker.Config{URL: "a", InboxPrefix: "_INBOX.>"}, []string{"inbox_prefix"}},
		"inbox with a gap": {broker.Config{URL: "a", InboxPrefix: "_INBOX..x"}, []string{"inbox_prefix"}},
		"all at once": {
			broker.Config{CredsFile: "f", NKeySeedFile: "g", TLS: broker.TLS{KeyFile: "k"}, InboxPrefix: "x"},
			[]string{"url", "nkey_seed_file", "tls", "inbox_prefix"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := tt.config.Validate()
			if tt.names == nil {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, connectors.ErrConfig) {
				t.Fatalf("error = %v, want connectors.ErrConfig", err)
			}
			for _, want := range tt.names {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not name %q", err, want)
				}
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("error %q shows the password", err)
			}
		})
	}
}
