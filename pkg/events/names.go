package events

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// DefaultPrefix is the first token of every subject unless configured
// otherwise.
const DefaultPrefix = "sync"

// MaxReplyLen bounds the subject that an ack is sent to, in bytes.
const MaxReplyLen = 255

// maxChannelLen bounds the name of a channel, in bytes.
const maxChannelLen = 63

// ErrName says that a prefix, a channel name, a service name or an id cannot be
// part of a subject.
var ErrName = errors.New("invalid name")

var (
	prefixPattern = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)
	tokenPattern  = regexp.MustCompile(`^[A-Za-z0-9_=-]{1,200}$`)
)

// Names tells one installation from the others that share its broker. The subjects and
// streams of docs/contract.md begin with its prefix. The zero Names is not usable; see
// NewNames.
type Names struct{ prefix, upper string }

// NewNames returns the names under a prefix: a lower-case letter, then up to 15
// lower-case letters and digits. Installations with different prefixes can share
// one NATS account.
func NewNames(prefix string) (Names, error) {
	if !prefixPattern.MatchString(prefix) {
		return Names{}, fmt.Errorf("%w: prefix %q does not match %s", ErrName, prefix, prefixPattern)
	}
	return Names{prefix: prefix, upper: strings.ToUpper(prefix)}, nil
}

// DefaultNames returns the names under DefaultPrefix.
func DefaultNames() Names { return Names{prefix: DefaultPrefix, upper: strings.ToUpper(DefaultPrefix)} }

// CheckChannel reports whether a channel may have this name: a lower-case letter
// or digit, then up to 62 of those, '_' and '-'.
func CheckChannel(name string) error { return checkName("channel", name) }

// CheckTopic is CheckChannel for the name of a topic.
func CheckTopic(name string) error { return checkName("topic", name) }

func checkName(of, name string) error {
	ok := name != "" && len(name) <= maxChannelLen && name[0] != '_' && name[0] != '-'
	for i := 0; ok && i < len(name); i++ { // asked for each update: a regular expression takes many times as long
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("%w: %s %.80q does not match ^[a-z0-9][a-z0-9_-]{0,62}$", ErrName, of, name)
	}
	return nil
}

// Prefix returns the first token of every subject.
func (n Names) Prefix() string { return n.prefix }

// StreamPrefix returns what the names of all streams begin with: the prefix in capital letters.
func (n Names) StreamPrefix() string { return n.upper }

// Update returns the subject that an update of a key is published on.
func (n Names) Update(r Route, encodedKey string) string {
	if r.topic {
		return n.prefix + ".topics." + r.name + "." + encodedKey
	}
	return n.prefix + ".updates." + r.name + "." + encodedKey
}

// ServiceAck returns the subject on which a named service gets an ack that is
// kept for it. service and id are single tokens of [A-Za-z0-9_=-].
func (n Names) ServiceAck(service, id string) (string, error) {
	if !tokenPattern.MatchString(service) || !tokenPattern.MatchString(id) {
		return "", fmt.Errorf("%w: service %.80q and id %.80q must match %s", ErrName, service, id, tokenPattern)
	}
	subject := n.prefix + ".acks." + service + "." + id
	if len(subject) > MaxReplyLen {
		return "", fmt.Errorf("%w: service and id make a subject of %d bytes, more than %d", ErrName, len(subject), MaxReplyLen)
	}
	return subject, nil
}

// ServiceAcks returns the filter of the acks that are kept for a named service.
func (n Names) ServiceAcks(service string) (string, error) {
	if !tokenPattern.MatchString(service) {
		return "", fmt.Errorf("%w: service %.80q must match %s", ErrName, service, tokenPattern)
	}
	return n.prefix + ".acks." + service + ".*", nil
}
