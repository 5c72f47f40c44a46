package connhttp

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

func testSecret(fill byte, n int) string {
	return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, n))
}

// TestSignatures: the standard's own library accepts what is sent, by any of the
// live secrets, for a body and for none.
func TestSignatures(t *testing.T) {
	first, second, other := symmetricPrefix+testSecret(1, 32), symmetricPrefix+testSecret(2, 24), symmetricPrefix+testSecret(3, 64)
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{4}, ed25519.SeedSize))
	env := connectortest.Env(map[string]string{
		"A": first, "B": second,
		"SEED": asymmetricPrefix + base64.StdEncoding.EncodeToString(private.Seed()),
		"KEY":  asymmetricPrefix + base64.StdEncoding.EncodeToString(private),
	})
	for name, a := range map[string]connectors.Attempt{"payload": testAttempt(), "tombstone": testTombstone()} {
		t.Run(name, func(t *testing.T) {
			a.ID += ".with.stops%"
			var header http.Header
			var body []byte
			s := listenHTTP(t, func(_ http.ResponseWriter, r *http.Request) {
				header = r.Header.Clone()
				body, _ = io.ReadAll(r.Body)
			})
			conn, err := New(t.Context(), env, Config{
				URL: connectors.Ref(s), AllowCIDRs: []string{"127.0.0.0/8"},
				Signing: Signing{Secrets: []connectors.Ref{"${env:A}", "${env:B}", "${env:SEED}", "${env:KEY}"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(t.Context()) }()
			wantResult(t, apply(t, conn, a), connectors.OK, "200")
			for secret, accepted := range map[string]bool{first: true, second: true, other: false} {
				w, err := webhooks.NewWebhook(secret)
				if err != nil {
					t.Fatal(err)
				}
				if err := w.Verify(body, header); (err == nil) != accepted {
					t.Errorf("verifying: %v, want accepted %v", err, accepted)
				}
				if err := w.Verify(append(body, '!'), header); err == nil {
					t.Error("another body is accepted")
				}
			}
			verifyEd25519(t, header, body, private.Public().(ed25519.PublicKey))
			if strings.Contains(header.Get(headerWebhookID), ".") {
				t.Errorf("webhook-id is %q", header.Get(headerWebhookID))
			}
		})
	}
}

// verifyEd25519 checks the two asymmetric signatures, which the library does not
// know.
func verifyEd25519(t *testing.T, h http.Header, body []byte, public ed25519.PublicKey) {
	t.Helper()
	message := h.Get(headerWebhookID) + "." + h.Get(headerWebhookTimestamp) + "." + string(body)
	n := 0
	for one := range strings.FieldsSeq(h.Get(headerWebhookSignature)) {
		text, ok := strings.CutPrefix(one, "v1a,")
		if !ok {
			continue
		}
		n++
		signature, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !ed25519.Verify(public, []byte(message), signature) {
			t.Errorf("signature %q is not valid (%v)", one, err)
		}
	}
	if n != 2 {
		t.Errorf("%d ed25519 signatures, want 2", n)
	}
}

// TestSignatureTime: the time is the clock's, and each attempt has its own.
func TestSignatureTime(t *testing.T) {
	s, err := newSigner(symmetricPrefix + testSecret(1, 24))
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	sign(h, []signer{s}, "id", time.Unix(1_700_000_000, 999), nil)
	if h.Get(headerWebhookTimestamp) != "1700000000" || h.Get(headerWebhookID) != "id" {
		t.Errorf("headers %v", h)
	}
	sign(h, nil, "other", time.Unix(0, 0), nil)
	if h.Get(headerWebhookID) != "id" {
		t.Error("without a secret there is nothing to sign with")
	}
}

func TestBadSigningSecrets(t *testing.T) {
	mixed := append(bytes.Repeat([]byte{1}, ed25519.SeedSize), bytes.Repeat([]byte{2}, ed25519.SeedSize)...)
	for name, secret := range map[string]string{
		"empty":               "",
		"no prefix":           testSecret(1, 32),
		"public key":          "whpk_" + testSecret(1, 32),
		"not base64":          symmetricPrefix + "!!!!",
		"too short":           symmetricPrefix + testSecret(1, 23),
		"too long":            symmetricPrefix + testSecret(1, 65),
		"key of another size": asymmetricPrefix + testSecret(1, 33),
		"halves do not match": asymmetricPrefix + base64.StdEncoding.EncodeToString(mixed),
	} {
		if _, err := newSigner(secret); !errors.Is(err, errSigningSecret) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
