package conns3

import (
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

func TestConfig(t *testing.T) {
	const good = "endpoint: https://s3.example\nbucket: b\naccess_key_id: AKIA\nsecret_access_key: ${env:SECRET}\n"
	c, err := decode([]byte(good))
	if err != nil || c.Region != "us-east-1" || c.Content != jsonContent || c.Addressing != pathStyle {
		t.Fatalf("%+v, %v", c, err)
	}
	if n := c.names("people"); n.prefix != "people/" {
		t.Errorf("prefix %q", n.prefix)
	}
	if n := (Config{Prefix: "/"}).names("people"); n.prefix != "" {
		t.Errorf("prefix %q", n.prefix)
	}
	for more, want := range map[string]string{
		"endpoint: s3.example":                   "endpoint: it must begin with http",
		"endpoint: https://me:secret@s3.example": "endpoint: it must not hold a user name",
		"endpoint: https://s3.example?a=b":       "endpoint: it must be a host",
		"endpoint: http://10.1.2.3":              "endpoint: ",
		"bucket: a/b":                            "bucket: it is not the name",
		"region: 'eu west'":                      "region: it is not",
		"prefix: a":                              "prefix: it must end with a slash",
		"prefix: a/../b/":                        "prefix: its parts",
		"prefix: /a/":                            "prefix: its parts",
		`prefix: "a\t/"`:                         "prefix: it must be printable",
		"suffix: /x":                             "suffix: it must be printable, without a slash",
		"content: text":                          "content: ",
		"addressing: dns":                        "addressing: ",
		"headers: {Content-Type: text/plain}":    "headers.Content-Type: it is none",
		"headers: {x-amz-server-side-encryption-customer-key: k}": "it is none",
		`headers: {x-amz-acl: "a\nb"}`:                            "headers.x-amz-acl: its value",
		"secret_access_key: plain":                                "secret_access_key: ",
		"session_token: plain":                                    "session_token: ",
		"access_key_id: 'a  b'":                                   "access_key_id: it has",
		"endpoint: http://s3.example\ntls: {server_name: x}":      "tls: the endpoint begins with http",
		"allow_cidrs: [10.1.2.3]":                                 "allow_cidrs: ",
		"nothing: known":                                          "nothing",
	} {
		config := good
		for line := range strings.SplitSeq(more, "\n") {
			name, _, _ := strings.Cut(line, ":")
			for old := range strings.SplitSeq(good, "\n") {
				if strings.HasPrefix(old, name+":") {
					config = strings.Replace(config, old+"\n", "", 1)
				}
			}
		}
		_, err := decode([]byte(config + more + "\n"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", more, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "plain") && strings.Contains(more, ": plain") {
			t.Errorf("%s: the error repeats the value: %v", more, err)
		}
	}
}

func TestCapabilities(t *testing.T) {
	const config = "endpoint: https://s3.example\nbucket: b\naccess_key_id: AKIA\nsecret_access_key: ${env:SECRET}\n"
	k := Kind()
	if k.With([]byte(config)).Guard != connectors.GuardConditional || !k.NeedsJSON([]byte(config)) {
		t.Error("with content json the guard is conditional, and nothing but JSON is taken")
	}
	if k.With([]byte(config+"content: bytes")).Guard != connectors.GuardLedger || k.NeedsJSON([]byte(config+"content: bytes")) {
		t.Error("with content bytes the guard is ledger, and everything is taken")
	}
}

// TestResolvedValues: what a reference hides is looked at when the connector is opened, and
// is not shown.
func TestResolvedValues(t *testing.T) {
	env := connectortest.Env(map[string]string{"KEY": "two\nlines", "SECRET": "s"})
	_, err := connectors.Open(t.Context(), Kind(), env, []byte(configFor("https://s3.example", "")))
	if connectors.ClassOf(err) != connectors.Misconfigured || strings.Contains(err.Error(), "lines") {
		t.Errorf("%v", err)
	}
	_, err = connectors.Open(t.Context(), Kind(), connectortest.Env(nil), []byte(configFor("https://s3.example", "")))
	if !errors.Is(err, connectors.ErrSecret) || !strings.Contains(err.Error(), "secret_access_key") {
		t.Errorf("%v", err)
	}
}
