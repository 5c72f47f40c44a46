package tokens

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Store reads the records of tokens from a bucket at the broker, which takes each key
// once and removes nothing. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	bucket string
	stream jetstream.Stream
	keys   Keys
}

// Open returns the tokens of a provisioned broker, else events.ErrNotProvisioned.
// Only what keys have signed counts.
func Open(ctx context.Context, js jetstream.JetStream, names events.Names, keys Keys) (*Store, error) {
	bucket := wire.TokensBucket(names)
	stream, err := js.Stream(ctx, wire.KVStream(bucket))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: bucket %s is missing; apply the channels again", events.ErrNotProvisioned, bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("open the tokens: %w", err)
	}
	return &Store{js: js, bucket: bucket, stream: stream, keys: keys}, nil
}

// A book is what records add up to. A revocation holds for ever: no record that comes
// later, or again, undoes it.
type book struct {
	tokens  map[string]Token
	revoked map[string]time.Time
	next    uint64 // sequence from which on nothing was read yet
	foreign int    // records that no key has signed
}

func newBook() *book {
	return &book{tokens: map[string]Token{}, revoked: map[string]time.Time{}, next: 1}
}

func (b *book) add(t *Token, r *revocation) {
	if r != nil {
		b.revoked[r.ID] = r.At
		delete(b.tokens, r.ID)
		return
	}
	_, revoked := b.revoked[t.ID]
	if _, known := b.tokens[t.ID]; !known && !revoked { // the first of its id counts
		b.tokens[t.ID] = *t
	}
}

// read adds what is stored of some keys from b.next on.
func (s *Store) read(ctx context.Context, b *book, keys string) error {
	subject := wire.KVSubject(s.bucket, keys)
	for {
		msg, err := s.stream.GetMsg(ctx, b.next, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tokens: %w", err)
		}
		t, r, err := s.keys.open(strings.TrimPrefix(msg.Subject, wire.KVSubject(s.bucket, "")), msg.Data)
		switch {
		case errors.Is(err, errUnsigned):
			b.foreign++
		case err != nil:
			return fmt.Errorf("token record %w", err)
		default:
			b.add(t, r)
		}
		b.next = msg.Sequence + 1
	}
}

// of reads what is stored of one token.
func (s *Store) of(ctx context.Context, id string) (*book, error) {
	b := newBook()
	return b, s.read(ctx, b, "*."+id+".*")
}

// A position is where a stream ends, and which one it is.
type position struct {
	made time.Time
	last uint64
}

func (s *Store) position(ctx context.Context) (position, error) {
	info, err := s.stream.Info(ctx)
	if err != nil {
		return position{}, fmt.Errorf("read tokens: %w", err)
	}
	return position{made: info.Created, last: info.State.LastSeq}, nil
}

// Get returns one token, or ErrNotFound; of a revoked one, ErrNotFound and ErrRevoked.
func (s *Store) Get(ctx context.Context, id string) (Token, error) {
	if !idPattern.MatchString(id) {
		return Token{}, fmt.Errorf("%w: %.20q is not the id of one", ErrNotFound, id)
	}
	b, err := s.of(ctx, id)
	if err != nil {
		return Token{}, err
	}
	if _, revoked := b.revoked[id]; revoked {
		return Token{}, fmt.Errorf("%w: %s: %w", ErrNotFound, id, ErrRevoked)
	}
	t, ok := b.tokens[id]
	if !ok {
		return Token{}, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return t, nil
}

// List returns all tokens that were not revoked, oldest first, and how many records
// no administrator's key has signed.
func (s *Store) List(ctx context.Context) (list []Token, foreign int, err error) {
	b := newBook()
	if err := s.read(ctx, b, ">"); err != nil {
		return nil, 0, err
	}
	for _, t := range b.tokens {
		list = append(list, t)
	}
	slices.SortFunc(list, func(x, y Token) int {
		return cmp.Or(x.Created.Compare(y.Created), strings.Compare(x.ID, y.ID))
	})
	return list, b.foreign, nil
}

// An Issuer makes and revokes tokens. It is safe for concurrent use.
type Issuer struct {
	*Store
	key *AdminKey
}

// OpenIssuer is Open for who has an administrator's key.
func OpenIssuer(ctx context.Context, js jetstream.JetStream, names events.Names, key *AdminKey) (*Issuer, error) {
	s, err := Open(ctx, js, names, key.Keys)
	if err != nil {
		return nil, err
	}
	return &Issuer{Store: s, key: key}, nil
}

// Create makes a token of name, scopes, channels, rate (zero: DefaultRate) and
// expiry. It returns the token's text, which cannot be had again.
func (a *Issuer) Create(ctx context.Context, t Token) (Token, string, error) {
	random := make([]byte, idBytes+secretBytes)
	_, _ = rand.Read(random) // never fails: it ends the program instead
	id, secret := hex.EncodeToString(random[:idBytes]), base64.RawURLEncoding.EncodeToString(random[idBytes:])
	t, err := a.create(ctx, t, id, secret)
	return t, prefix + id + "_" + secret, err
}

// Adopt is Create for a token whose text is there already: made before, and kept
// where secrets are kept. If the broker has this very token it is returned as it
// is; adopt does the rest.
func (a *Issuer) Adopt(ctx context.Context, t Token, text string) (known Token, adopt func(context.Context) (Token, error), err error) {
	id, secret, ok := Split(strings.TrimSpace(text))
	if raw, err := base64.RawURLEncoding.DecodeString(secret); !ok || err != nil || len(raw) != secretBytes {
		return Token{}, nil, fmt.Errorf("%w: text: it is not that of a token; 'extsync tokens create' makes one", ErrInvalid)
	}
	known, err = a.Get(ctx, id)
	switch {
	case errors.Is(err, ErrRevoked):
		return Token{}, nil, fmt.Errorf("%w: text: %w: %s; make another one", ErrInvalid, ErrRevoked, id)
	case errors.Is(err, ErrNotFound):
		return Token{}, func(ctx context.Context) (Token, error) { return a.create(ctx, t, id, secret) }, nil
	case err == nil && !known.Matches(secret):
		err = fmt.Errorf("%w: text: token %s has another secret", ErrInvalid, id)
	}
	return known, nil, err
}

func (a *Issuer) create(ctx context.Context, t Token, id, secret string) (Token, error) {
	now := time.Now().UTC()
	if t.Rate == 0 {
		t.Rate = DefaultRate
	}
	if err := t.check(now); err != nil {
		return Token{}, err
	}
	sum := sha256.Sum256([]byte(secret))
	t.Format, t.ID, t.Hash, t.Created = wire.Format, id, hex.EncodeToString(sum[:]), now.Truncate(time.Second)
	if err := a.store(ctx, kindToken, id, t); err != nil {
		return Token{}, fmt.Errorf("store token: %w", err)
	}
	return t, nil
}

// Revoke ends a token for good. ErrNotFound if there is none, unless unseen is set:
// then an id is revoked that the broker does not know, such as that of a token which
// was made after the backup that the broker's files are from.
func (a *Issuer) Revoke(ctx context.Context, id string, unseen bool) error {
	_, err := a.Get(ctx, id)
	if err != nil && (!unseen || !errors.Is(err, ErrNotFound) || errors.Is(err, ErrRevoked) || !idPattern.MatchString(id)) {
		return err
	}
	r := revocation{Format: wire.Format, ID: id, At: time.Now().UTC().Truncate(time.Second)}
	if err := a.store(ctx, kindRevoked, id, r); err != nil {
		return fmt.Errorf("revoke token %s: %w", id, err)
	}
	return nil
}

func (a *Issuer) store(ctx context.Context, kind, id string, record any) error {
	key, data, err := a.key.seal(kind, id, record)
	if err != nil {
		return err
	}
	_, err = a.js.Publish(ctx, wire.KVSubject(a.bucket, key), data)
	return err
}
