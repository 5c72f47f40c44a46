package tokens

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
)

// Whatever lies in the bucket: what counts is, byte for byte, what was signed, as the
// kind and for the id that it was signed for.
func FuzzRecord(f *testing.F) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	public, _ := private.Public().(ed25519.PublicKey)
	key := &AdminKey{private: private, Keys: Keys{public}}
	const id = "0123456789ab"
	type signed struct {
		kind string
		body []byte
	}
	var all []signed
	for kind, record := range map[string]any{
		kindToken:   Token{Format: wire.Format, ID: id, Name: "n", Scopes: []Scope{Read}, Rate: 1, Created: time.Unix(1, 0).UTC(), Hash: "00"},
		kindRevoked: revocation{Format: wire.Format, ID: id, At: time.Unix(1, 0).UTC()},
		"other":     struct{ F int }{1},
	} {
		name, data, err := key.seal(kind, id, record)
		testkit.Must(f, err)
		var e envelope
		testkit.Must(f, json.Unmarshal(data, &e))
		all = append(all, signed{kind, e.Body})
		f.Add(name, data)
		f.Add(kindRevoked+"."+id+".x", data)
		f.Add(kindToken+".ba9876543210.x", data)
		f.Add(name, bytes.Replace(data, []byte("body"), []byte("sig"), 1))
	}
	f.Add("", []byte("{}"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		tok, revoked, err := key.Keys.open(name, data)
		if err != nil {
			if tok != nil || revoked != nil {
				t.Error("an error, and a record")
			}
			return
		}
		if (tok == nil) == (revoked == nil) || tok != nil && tok.ID != id || revoked != nil && revoked.ID != id {
			t.Errorf("%v and %v", tok, revoked)
		}
		var e envelope
		testkit.Must(t, json.Unmarshal(data, &e))
		if !slices.ContainsFunc(all, func(s signed) bool { return s.kind != "other" && bytes.Equal(s.body, e.Body) }) {
			t.Errorf("nobody has signed %s", e.Body)
		}
	})
}

// A record of a newer format that the key has signed stops its reader; one that says so
// without a signature stops nobody.
func TestRecordOfANewerFormat(t *testing.T) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	public, _ := private.Public().(ed25519.PublicKey)
	key := &AdminKey{private: private, Keys: Keys{public}}
	name, data, err := key.seal(kindToken, "0123456789ab", Token{Format: wire.Format + 1, ID: "0123456789ab"})
	testkit.Must(t, err)
	if _, _, err := key.Keys.open(name, data); err == nil || errors.Is(err, errUnsigned) {
		t.Errorf("signed: %v", err)
	}
	if _, _, err := (Keys{}).open(name, data); !errors.Is(err, errUnsigned) {
		t.Errorf("not signed: %v", err)
	}
}

func FuzzKeyFile(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAiojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=\n-----END PUBLIC KEY-----\n"))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		private, keys, err := parseKeys(data)
		if err != nil {
			return
		}
		for _, public := range keys {
			if len(public) != ed25519.PublicKeySize { // Verify would panic
				t.Errorf("a public key of %d bytes", len(public))
			}
		}
		if private != nil && !(&AdminKey{private: private, Keys: keys}).Keys.verify("k", nil, ed25519.Sign(private, signedText("k", nil))) {
			t.Error("its own signature does not count")
		}
	})
}
