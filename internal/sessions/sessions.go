// Package sessions keeps people logged in to the HTTP API by a cookie. A cookie is a
// statement that a key has signed: who has logged in, how, and until when. It gives no
// rights: those are what the token, or the groups, allow at the time of each request. What
// lies at the broker can end a login and fill the list of them, and can make none.
package sessions

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// MaxAge is how long a login lasts.
const MaxAge = 8 * time.Hour

// maxCookie bounds a cookie, in bytes: browsers take 4096 with its name and attributes.
const maxCookie = 3800

// The kinds of what the key signs.
const (
	kindSession = "session"
	kindLogin   = "login"
)

// Errors of this package.
var (
	// ErrInvalid says that a cookie is none of ours, has ended or has expired.
	ErrInvalid = errors.New("not logged in, or no longer")
	// ErrNoKey says that this process cannot make logins.
	ErrNoKey = errors.New("this instance has no key for logins: give --http-session-key-file, at a gateway the public half of the administrators' one")
	// ErrTooLarge says that a login does not fit into a cookie.
	ErrTooLarge = errors.New("the login does not fit into a cookie: the provider names too many groups that have rights here")
)

var idPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// A Session is a login.
type Session struct {
	Format int    `json:"f"`
	ID     string `json:"id"`
	// Installation is that of the store: one key may be that of several.
	Installation string `json:"at"`
	// Token is the id of the token that it was made by; "" for one by OIDC.
	Token string `json:"token,omitempty"`
	// Issuer, Subject, Name and Groups are of one by OIDC.
	Issuer  string    `json:"iss,omitempty"`
	Subject string    `json:"sub,omitempty"`
	Name    string    `json:"name,omitempty"`
	Groups  []string  `json:"groups,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// Keys sign and verify cookies. The zero value does neither.
type Keys struct {
	signer *tokens.AdminKey
	public tokens.Keys
}

// NewKeys returns keys that are kept nowhere: what they sign is good in this process only.
func NewKeys() (Keys, error) {
	key, err := tokens.EphemeralKey()
	if err != nil {
		return Keys{}, err
	}
	return Keys{signer: key, public: key.Keys}, nil
}

// ReadKeys reads a file of 'extsync tokens key', or its public half. The error wraps
// connectors.ErrConfig, also where the file holds a key that signs tokens: a process that
// takes requests must not have that one.
func ReadKeys(file string, tokenKeys tokens.Keys) (Keys, error) {
	public, err := tokens.ReadKeys(file)
	if err != nil {
		return Keys{}, err
	}
	if slices.ContainsFunc(public, func(key ed25519.PublicKey) bool { return tokenKeys.Has(key) }) {
		return Keys{}, fmt.Errorf("%w: %s: it holds a key that signs tokens; make another one with 'extsync tokens key'", connectors.ErrConfig, file)
	}
	k := Keys{public: public}
	if signer, err := tokens.ReadAdminKey(file); err == nil { // else it is a public half
		k.signer = signer
		if info, err := os.Stat(file); err == nil && info.Mode().Perm()&0o007 != 0 {
			return Keys{}, fmt.Errorf("%w: %s: everybody on this machine may read or write the key; take that away with 'chmod o=' of the file", connectors.ErrConfig, file)
		}
	}
	return k, nil
}

// Signs reports whether logins can be made, Verifies whether they can be told from others.
func (k Keys) Signs() bool    { return k.signer != nil }
func (k Keys) Verifies() bool { return len(k.public) > 0 }

// NewID returns the id of a session. It is no secret.
func NewID() string {
	random := make([]byte, 16)
	_, _ = rand.Read(random) // never fails: it ends the program instead
	return hex.EncodeToString(random)
}

// CheckID reports whether a text is the id of a session.
func CheckID(id string) bool { return idPattern.MatchString(id) }

// Seal returns the cookie of a session, with its format, id, creation and, at most MaxAge
// away, its end.
func (k Keys) Seal(s Session, now time.Time) (Session, string, error) {
	s.Format, s.ID, s.Created = wire.Format, NewID(), now.UTC().Truncate(time.Second)
	if end := s.Created.Add(MaxAge); s.Expires.IsZero() || s.Expires.After(end) {
		s.Expires = end
	}
	text, err := k.seal(kindSession, s)
	return s, text, err
}

// Open returns the session of a cookie, whose end it does not know.
func (k Keys) Open(cookie, installation string, now time.Time) (Session, error) {
	var s Session
	if !k.open(kindSession, cookie, &s) || s.Format != wire.Format || s.Installation != installation || !CheckID(s.ID) ||
		!now.Before(s.Expires) || s.Expires.Sub(s.Created) > MaxAge || s.Created.After(now.Add(time.Minute)) {
		return Session{}, ErrInvalid
	}
	return s, nil
}

func (k Keys) seal(kind string, v any) (string, error) {
	if k.signer == nil {
		return "", ErrNoKey
	}
	body, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	enc := base64.RawURLEncoding
	text := enc.EncodeToString(body) + "." + enc.EncodeToString(k.signer.Sign(kind, body))
	if len(text) > maxCookie {
		return "", ErrTooLarge
	}
	return text, nil
}

func (k Keys) open(kind, text string, into any) bool {
	if len(text) > maxCookie {
		return false
	}
	first, second, _ := strings.Cut(text, ".")
	enc := base64.RawURLEncoding.Strict()
	body, err := enc.DecodeString(first)
	signature, err2 := enc.DecodeString(second)
	return errors.Join(err, err2) == nil && k.public.Verify(kind, body, signature) && json.Unmarshal(body, into) == nil
}
