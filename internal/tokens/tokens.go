// Package tokens keeps the API tokens of the publisher: who may do what on which
// channels. A token is shown once, when it is made; only a hash of its secret is
// stored. A token and its revocation are records that an administrator's key has
// signed: who can write to the broker can neither make nor change one.
package tokens

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
)

// A Scope is a kind of right. None includes another.
type Scope string

// The scopes.
const (
	Publish   Scope = "publish"   // updates
	Read      Scope = "read"      // states, errors and counts
	Payload   Scope = "payload"   // contents
	Operate   Scope = "operate"   // what operators do: pause, replay, resync
	Configure Scope = "configure" // channels and topics
	Admin     Scope = "admin"     // who may do what, and what cannot be undone
)

// Scopes returns all scopes.
func Scopes() []Scope { return []Scope{Publish, Read, Payload, Operate, Configure, Admin} }

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
	// Channels and Topics that the token is limited to; none of either: all of both.
	Channels []string `json:"channels,omitempty"`
	Topics   []string `json:"topics,omitempty"`
	// Rate is how many requests a second it may make at each instance.
	Rate    float64   `json:"rate"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
	// Hash is the SHA-256 of the secret: 32 random bytes, so that nothing slower
	// is needed.
	Hash string `json:"hash,omitempty"`
}

// Public is the token without its hash.
func (t Token) Public() Token {
	t.Hash = ""
	return t
}

// Allows reports whether the token has a scope.
func (t *Token) Allows(s Scope) bool { return slices.Contains(t.Scopes, s) }

// Limited reports whether the token is limited to some channels and topics.
func (t *Token) Limited() bool { return len(t.Channels)+len(t.Topics) > 0 }

// AllowsChannel reports whether the token may be used for a channel.
func (t *Token) AllowsChannel(name string) bool {
	return !t.Limited() || slices.Contains(t.Channels, name)
}

// AllowsTopic reports whether the token may be used for a topic.
func (t *Token) AllowsTopic(name string) bool {
	return !t.Limited() || slices.Contains(t.Topics, name)
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
			bad = append(bad, fmt.Sprintf("scopes: %q is not publish, read, payload, operate, configure or admin", s))
		}
	}
	if n := len(t.Channels) + len(t.Topics); n > maxChannels {
		bad = append(bad, fmt.Sprintf("channels, topics: %d are more than %d", n, maxChannels))
	}
	for _, name := range t.Topics {
		if err := events.CheckTopic(name); err != nil {
			bad = append(bad, "topics: "+err.Error())
		}
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

// A View is what a list shows of a token.
type View struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Scopes   []Scope   `json:"scopes"`
	Channels []string  `json:"channels,omitempty"`
	Topics   []string  `json:"topics,omitempty"`
	Rate     float64   `json:"rate"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`
}

// View returns what a list shows of the token.
func (t Token) View() View {
	return View{t.ID, t.Name, t.Scopes, t.Channels, t.Topics, t.Rate, t.Created, t.Expires}
}
