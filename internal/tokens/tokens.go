// Package tokens keeps the API tokens of the publisher: who may do what on which
// channels. A token is shown once, when it is made; only a hash of its secret is
// stored.
package tokens

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// A Scope is a kind of right. None includes another.
type Scope string

// The scopes.
const (
	Publish Scope = "publish"
	Read    Scope = "read"
	Admin   Scope = "admin"
)

// Scopes returns all scopes.
func Scopes() []Scope { return []Scope{Publish, Read, Admin} }

const (
	// DefaultRate is how many requests a second a token may make at each instance.
	DefaultRate = 1000
	maxRate     = 1_000_000
	maxName     = 100
	maxChannels = 1000

	prefix      = "est_"
	idBytes     = 6
	secretBytes = 32
)

// MaxLen bounds the text of a token, in bytes.
const MaxLen = 128

// Errors of this package.
var (
	// ErrInvalid says that a token cannot be made as asked. The message names
	// every bad field.
	ErrInvalid = errors.New("invalid token")
	// ErrNotFound says that there is no such token, or that it was revoked.
	ErrNotFound = errors.New("token not found")
	// ErrRevoked says that a token was revoked and cannot be made known again.
	ErrRevoked = errors.New("token was revoked")
)

var idPattern = regexp.MustCompile(`^[0-9a-f]{12}$`)

// A Token is what is kept of a token.
type Token struct {
	Format int     `json:"f"`
	ID     string  `json:"id"`
	Name   string  `json:"name"` // for people and the audit log
	Scopes []Scope `json:"scopes"`
	// Channels that the token is limited to; none: all of them.
	Channels []string `json:"channels,omitempty"`
	// Rate is how many requests a second it may make at each instance.
	Rate    float64   `json:"rate"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	// Hash is the SHA-256 of the secret: 32 random bytes, so that nothing slower
	// is needed.
	Hash string `json:"hash,omitempty"`
	// Revoked is when the token was revoked; zero if it was not. Its record stays, without
	// Hash: were it removed, a broker that is killed could bring the token back.
	Revoked time.Time `json:"revoked,omitzero"`
}

// Public is the token without its hash.
func (t Token) Public() Token {
	t.Hash = ""
	return t
}

// Allows reports whether the token has a scope.
func (t *Token) Allows(s Scope) bool { return slices.Contains(t.Scopes, s) }

// AllowsChannel reports whether the token may be used for a channel.
func (t *Token) AllowsChannel(name string) bool {
	return len(t.Channels) == 0 || slices.Contains(t.Channels, name)
}

// Expired reports whether the token's time is over.
func (t *Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Matches compares a secret in constant time.
func (t *Token) Matches(secret string) bool {
	want, err := hex.DecodeString(t.Hash)
	sum := sha256.Sum256([]byte(secret))
	return err == nil && subtle.ConstantTimeCompare(sum[:], want) == 1
}

func (t *Token) check(now time.Time) error {
	var bad []string
	if n := len(strings.TrimSpace(t.Name)); n == 0 || n > maxName {
		bad = append(bad, fmt.Sprintf("name: length %d is outside 1..%d", n, maxName))
	}
	if len(t.Scopes) == 0 {
		bad = append(bad, "scopes: none is given")
	}
	for _, s := range t.Scopes {
		if !slices.Contains(Scopes(), s) {
			bad = append(bad, fmt.Sprintf("scopes: %q is not publish, read or admin", s))
		}
	}
	if len(t.Channels) > maxChannels {
		bad = append(bad, fmt.Sprintf("channels: %d are more than %d", len(t.Channels), maxChannels))
	}
	for _, c := range t.Channels {
		if err := events.CheckChannel(c); err != nil {
			bad = append(bad, "channels: "+err.Error())
		}
	}
	if !(t.Rate > 0 && t.Rate <= maxRate) {
		bad = append(bad, fmt.Sprintf("rate: %v is not above 0 and at most %d", t.Rate, maxRate))
	}
	if t.Expired(now) {
		bad = append(bad, "expires: that time has passed")
	}
	if len(bad) > 0 {
		return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(bad, "; "))
	}
	return nil
}

// Split takes the text of a token apart. ok is false if it is none.
func Split(text string) (id, secret string, ok bool) {
	rest, isOurs := strings.CutPrefix(text, prefix)
	id, secret, cut := strings.Cut(rest, "_")
	return id, secret, isOurs && cut && len(text) <= MaxLen && idPattern.MatchString(id) && secret != ""
}

// Store keeps the tokens in a bucket at the broker. It is safe for concurrent
// use.
type Store struct{ kv jetstream.KeyValue }

// Open returns the tokens of a provisioned broker, else events.ErrNotProvisioned.
func Open(ctx context.Context, js jetstream.JetStream, names events.Names) (*Store, error) {
	kv, err := js.KeyValue(ctx, names.TokensBucket())
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, fmt.Errorf("%w: bucket %s is missing; apply the channels again", events.ErrNotProvisioned, names.TokensBucket())
	}
	if err != nil {
		return nil, fmt.Errorf("open the tokens: %w", err)
	}
	return &Store{kv: kv}, nil
}

// Create makes a token of name, scopes, channels, rate (zero: DefaultRate) and
// expiry. It returns the token's text, which cannot be had again.
func (s *Store) Create(ctx context.Context, t Token) (Token, string, error) {
	random := make([]byte, idBytes+secretBytes)
	_, _ = rand.Read(random) // never fails: it ends the program instead
	id, secret := hex.EncodeToString(random[:idBytes]), base64.RawURLEncoding.EncodeToString(random[idBytes:])
	t, err := s.create(ctx, t, id, secret)
	return t, prefix + id + "_" + secret, err
}

// Adopt is Create for a token whose text is there already: made before, and kept
// where secrets are kept. If the broker has this very token it is returned as it
// is; adopt does the rest.
func (s *Store) Adopt(ctx context.Context, t Token, text string) (known Token, adopt func(context.Context) (Token, error), err error) {
	id, secret, ok := Split(strings.TrimSpace(text))
	if raw, err := base64.RawURLEncoding.DecodeString(secret); !ok || err != nil || len(raw) != secretBytes {
		return Token{}, nil, fmt.Errorf("%w: text: it is not that of a token; 'extsync tokens create' makes one", ErrInvalid)
	}
	known, _, err = s.read(ctx, id)
	switch {
	case errors.Is(err, ErrRevoked):
		return Token{}, nil, fmt.Errorf("%w: text: %w: %s; make another one", ErrInvalid, ErrRevoked, id)
	case errors.Is(err, ErrNotFound):
		return Token{}, func(ctx context.Context) (Token, error) { return s.create(ctx, t, id, secret) }, nil
	case err == nil && !known.Matches(secret):
		err = fmt.Errorf("%w: text: token %s has another secret", ErrInvalid, id)
	}
	return known, nil, err
}

func (s *Store) create(ctx context.Context, t Token, id, secret string) (Token, error) {
	now := time.Now().UTC()
	if t.Rate == 0 {
		t.Rate = DefaultRate
	}
	if err := t.check(now); err != nil {
		return Token{}, err
	}
	sum := sha256.Sum256([]byte(secret))
	t.Format, t.ID, t.Hash, t.Created = events.Format, id, hex.EncodeToString(sum[:]), now.Truncate(time.Second)
	data, err := json.Marshal(t)
	if err != nil {
		return Token{}, fmt.Errorf("token: %w", err)
	}
	if _, err := s.kv.Create(ctx, t.ID, data); err != nil {
		return Token{}, fmt.Errorf("store token: %w", err)
	}
	return t, nil
}

// Get returns one token, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (Token, error) {
	t, _, err := s.read(ctx, id)
	return t, err
}

// read is Get, with the revision of the token's record. Of a revoked token it returns
// ErrNotFound and ErrRevoked.
func (s *Store) read(ctx context.Context, id string) (Token, uint64, error) {
	if !idPattern.MatchString(id) {
		return Token{}, 0, fmt.Errorf("%w: %.20q is not the id of one", ErrNotFound, id)
	}
	kve, err := s.kv.Get(ctx, id)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Token{}, 0, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	if err != nil {
		return Token{}, 0, fmt.Errorf("read token %s: %w", id, err)
	}
	t, err := decode(kve)
	if err == nil && !t.Revoked.IsZero() {
		err = fmt.Errorf("%w: %s: %w", ErrNotFound, id, ErrRevoked)
	}
	if err != nil {
		return Token{}, 0, err
	}
	return t, kve.Revision(), nil
}

func decode(kve jetstream.KeyValueEntry) (Token, error) {
	var t Token
	if err := json.Unmarshal(kve.Value(), &t); err != nil {
		return Token{}, fmt.Errorf("token %s: %w", kve.Key(), err)
	}
	if err := events.CheckFormat(t.Format); err != nil {
		return Token{}, fmt.Errorf("token %s: %w", kve.Key(), err)
	}
	return t, nil
}

// List returns all tokens that were not revoked, oldest first.
func (s *Store) List(ctx context.Context) ([]Token, error) {
	w, err := s.kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	defer func() { _ = w.Stop() }() // the list is complete or ctx has ended
	var out []Token
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("list tokens: %w", ctx.Err())
		case kve, ok := <-w.Updates():
			if !ok {
				return nil, fmt.Errorf("list tokens: %w", events.ErrUnavailable)
			}
			if kve == nil {
				slices.SortFunc(out, func(a, b Token) int { return a.Created.Compare(b.Created) })
				return out, nil
			}
			t, err := decode(kve)
			if err != nil {
				return nil, err
			}
			if t.Revoked.IsZero() {
				out = append(out, t)
			}
		}
	}
}

// Revoke ends a token for good. ErrNotFound if there is none. A record takes the place
// of the token's: it is the newest of its key for ever, whatever a broker that is killed
// forgets of deletions.
func (s *Store) Revoke(ctx context.Context, id string) (Token, error) {
	t, revision, err := s.read(ctx, id)
	if err != nil {
		return Token{}, err
	}
	gone := t.Public()
	gone.Revoked = time.Now().UTC().Truncate(time.Second)
	data, err := json.Marshal(gone)
	if err != nil {
		return Token{}, fmt.Errorf("revoke token %s: %w", id, err)
	}
	if _, err := s.kv.Update(ctx, id, data, revision); err != nil {
		return Token{}, fmt.Errorf("revoke token %s: %w", id, err)
	}
	return t, nil
}
