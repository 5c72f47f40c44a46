package conns3

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The metadata of an object.
const (
	metaVersion = "X-Amz-Meta-Extsync-Version"
	metaDigest  = "X-Amz-Meta-Extsync-Digest"
	metaOp      = "X-Amz-Meta-Extsync-Op"
	// metaMD5 is the MD5 of the content in hex, which most stores make the ETag from.
	metaMD5 = "X-Amz-Meta-Extsync-Md5"
	// metaKey is the key in base64 (RFC 4648, section 5, unpadded), where the name holds a
	// hash. It leaves room within the 2 KB that S3 has for all metadata.
	metaKey = "X-Amz-Meta-Extsync-Key"
)

const tombstoneType = "application/octet-stream"

// An object is what is written for an update.
type object struct {
	name   string
	header http.Header
	body   []byte
}

// object returns what is to be written for an attempt. The error is for people, and the
// update's own.
func (c *connector) object(a *connectors.Attempt) (o object, err error) {
	if o.name, err = c.names.of(a.Key); err != nil {
		return o, err
	}
	u := a.WithDefaults()
	o.header = c.client.headers.Clone()
	o.header.Set(metaVersion, a.Version.String())
	o.header.Set(metaDigest, a.Digest.String())
	o.header.Set(metaOp, string(u.Op))
	if _, err := c.names.key(o.name); errors.Is(err, errHashed) {
		o.header.Set(metaKey, base64.RawURLEncoding.EncodeToString([]byte(a.Key)))
	}
	o.header.Set("Content-Type", tombstoneType)
	if u.Op == events.Upsert {
		if !headerValue(u.ContentType) {
			return o, errors.New("a header cannot carry the content type")
		}
		o.header.Set("Content-Type", u.ContentType)
		o.body = a.Payload
	}
	if c.Content == jsonContent {
		if u.Op == events.Upsert {
			if err := events.CheckJSON(a.Payload); err != nil {
				return o, fmt.Errorf("the payload: %w", err)
			}
		}
		o.body = appendMark(append(make([]byte, 0, len(o.body)+mostMark), o.body...), a.Version)
	}
	sum := md5.Sum(o.body)
	o.header.Set(metaMD5, hex.EncodeToString(sum[:]))
	return o, nil
}

// mostMark is how many bytes the mark of a version takes at most.
const mostMark = 2 + 64 + 32

// appendMark appends white space that no other version of a key has, in JSON's sense: a
// line with the digits of the version in base 2, a space for 0 and a tab for 1; for a time
// a line of its seconds and one of its nanoseconds. The versions of a key are all numbers
// or all times, and behind the last line break is nothing else, so whatever two documents
// hold, with their marks they differ.
func appendMark(body []byte, v versioning.Version) []byte {
	line := func(n uint64) {
		body = append(body, '\n')
		for _, digit := range strconv.FormatUint(n, 2) {
			if digit == '1' {
				body = append(body, '\t')
			} else {
				body = append(body, ' ')
			}
		}
	}
	if at, ok := v.AsTime(); ok {
		line(uint64(at.Unix()) ^ 1<<63) // years before 1970, too
		line(uint64(at.Nanosecond()))
		return body
	}
	n, _ := v.Int64()
	line(uint64(n))
	return body
}

// A state is what the store holds under a name.
type state struct {
	connkit.State
	header http.Header
}

// stateOf reads the metadata of an object.
func stateOf(h http.Header) state {
	s := state{connkit.State{Mark: h.Get("ETag")}, h}
	foreign := func(format string, args ...any) state {
		s.Held, s.Foreign = connectors.Held{}, fmt.Sprintf(format, args...)
		return s
	}
	text := h.Get(metaVersion)
	if text == "" {
		return foreign("it has no version")
	}
	var err error
	if s.Version, err = versioning.Parse(text); err != nil {
		return foreign("what it has for a version is none")
	}
	if err := s.Digest.UnmarshalText([]byte(h.Get(metaDigest))); err != nil {
		return foreign("what it has for a digest is none")
	}
	switch s.Op = events.Op(h.Get(metaOp)); s.Op {
	case events.Upsert, events.Delete:
		return s
	default:
		return foreign("it does not say whether it is deleted")
	}
}

// whole reports whether metadata and ETag are certainly those of one object. They are not
// where the ETag is no MD5 of the content, or an object of somebody else is there.
func (s *state) whole() bool {
	return s.Mark != "" && strings.Trim(s.Mark, `"`) == s.header.Get(metaMD5)
}

// there reports whether there is an object.
func (s *state) there() bool { return s.header != nil }

// key returns the key of an object whose name holds a hash.
func (s *state) key() (string, bool) {
	key, err := base64.RawURLEncoding.DecodeString(s.header.Get(metaKey))
	return string(key), err == nil && s.Foreign == "" && len(key) > 0
}
