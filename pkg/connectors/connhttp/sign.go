package connhttp

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Headers of Standard Webhooks.
const (
	headerWebhookID        = "webhook-id"
	headerWebhookTimestamp = "webhook-timestamp"
	headerWebhookSignature = "webhook-signature"
)

// Prefixes of signing secrets, and how long a symmetric one may be, in bytes.
const (
	symmetricPrefix  = "whsec_"
	asymmetricPrefix = "whsk_"
	minSymmetricLen  = 24
	maxSymmetricLen  = 64
)

// errSigningSecret says what a signing secret looks like, never what it is.
var errSigningSecret = errors.New(`a signing secret is "whsec_" and the base64 of 24 to 64 bytes, or "whsk_" and that of an ed25519 key`)

// A signer makes one signature, with the name of its scheme.
type signer func(message []byte) string

// newSigner reads one secret.
func newSigner(secret string) (signer, error) {
	if text, ok := strings.CutPrefix(secret, symmetricPrefix); ok {
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) < minSymmetricLen || len(key) > maxSymmetricLen {
			return nil, errSigningSecret
		}
		return func(message []byte) string {
			mac := hmac.New(sha256.New, key)
			mac.Write(message)
			return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
		}, nil
	}
	text, ok := strings.CutPrefix(secret, asymmetricPrefix)
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil {
		return nil, errSigningSecret
	}
	var private ed25519.PrivateKey
	switch len(key) {
	case ed25519.SeedSize:
		private = ed25519.NewKeyFromSeed(key)
	case ed25519.PrivateKeySize:
		// The second half is the public key; one that does not belong to the first
		// would give signatures that nobody can verify.
		private = ed25519.NewKeyFromSeed(key[:ed25519.SeedSize])
		if !hmac.Equal(private, key) {
			return nil, errSigningSecret
		}
	default:
		return nil, errSigningSecret
	}
	return func(message []byte) string {
		return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(private, message))
	}, nil
}

// plainInSignedID are the bytes of an id that stay as they are where it is signed.
var plainInSignedID = bytesWhere(func(c byte) bool { return c != '.' && c != '%' }) //nolint:gochecknoglobals // a constant that the language cannot express as one

// sign adds the headers of Standard Webhooks, with one signature for each live
// secret. It does nothing if there is none.
func sign(h http.Header, signers []signer, id string, now time.Time, body []byte) {
	if len(signers) == 0 {
		return
	}
	// A full stop ends the id in what is signed, so there is none in it.
	id = escape(id, plainInSignedID)
	timestamp := strconv.FormatInt(now.Unix(), 10)
	message := slices.Concat([]byte(id), []byte("."), []byte(timestamp), []byte("."), body)
	signatures := make([]string, len(signers))
	for i, s := range signers {
		signatures[i] = s(message)
	}
	h.Set(headerWebhookID, id)
	h.Set(headerWebhookTimestamp, timestamp)
	h.Set(headerWebhookSignature, strings.Join(signatures, " "))
}
