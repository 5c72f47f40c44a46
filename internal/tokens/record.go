package tokens

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hms-utl/extsync/internal/wire"
)

// The kinds of records. Each is the first token of its keys in the bucket.
const (
	kindToken   = "token"
	kindRevoked = "revoked"
)

// maxRecord bounds a record, in bytes.
const maxRecord = 256 << 10

// errUnsigned says that a record has no signature that counts: whoever may write to
// the bucket may have stored it.
var errUnsigned = errors.New("no administrator's key has signed the record")

// An envelope is a record as it is stored: what was signed, byte for byte.
type envelope struct {
	Body      []byte `json:"body"`
	Signature []byte `json:"sig"`
}

// A revocation ends a token for good.
type revocation struct {
	Format int       `json:"f"`
	ID     string    `json:"id"` // the token's
	At     time.Time `json:"at"`
}

// seal signs a record, and returns it with its key in the bucket. The key ends with
// a hash of the record, so nobody can take its place before it is there.
func (k *AdminKey) seal(kind, id string, record any) (key string, data []byte, err error) {
	body, err := json.Marshal(record)
	if err != nil {
		return "", nil, err
	}
	data, err = json.Marshal(envelope{Body: body, Signature: k.sign(kind, body)})
	if err != nil {
		return "", nil, err
	}
	if len(data) > maxRecord {
		return "", nil, fmt.Errorf("%w: the record has %d bytes, and the limit is %d", ErrInvalid, len(data), maxRecord)
	}
	sum := sha256.Sum256(data)
	return kind + "." + id + "." + hex.EncodeToString(sum[:8]), data, nil
}

// open returns the token or the revocation that a record holds. The error is
// errUnsigned if no key of keys has signed it: nothing else of it counts then.
func (k Keys) open(key string, data []byte) (*Token, *revocation, error) {
	kind, rest, _ := strings.Cut(key, ".")
	id, _, _ := strings.Cut(rest, ".")
	var e envelope
	if len(data) > maxRecord || json.Unmarshal(data, &e) != nil || !k.verify(kind, e.Body, e.Signature) {
		return nil, nil, errUnsigned
	}
	var head struct {
		Format int    `json:"f"`
		ID     string `json:"id"`
	}
	if err := json.Unmarshal(e.Body, &head); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", key, err)
	}
	if err := wire.CheckFormat(head.Format); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", key, err)
	}
	if head.ID != id || !idPattern.MatchString(id) {
		return nil, nil, errUnsigned // it was signed for another key
	}
	switch kind {
	case kindToken:
		t := new(Token)
		if err := json.Unmarshal(e.Body, t); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", key, err)
		}
		return t, nil, nil
	case kindRevoked:
		r := new(revocation)
		if err := json.Unmarshal(e.Body, r); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", key, err)
		}
		return nil, r, nil
	default:
		return nil, nil, errUnsigned
	}
}
