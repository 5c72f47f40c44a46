package conns3

import (
	"errors"
	"strings"

	"github.com/hms-utl/extsync/pkg/events"
)

// names makes the names of objects: no two keys have one. Prefixes end with a slash and
// encoded keys have none, so two channels with different prefixes never meet either.
type names struct{ prefix, suffix string }

func (c Config) names(channel string) names {
	n := names{c.Prefix, c.Suffix}
	switch n.prefix {
	case "":
		n.prefix = channel + "/"
	case "/":
		n.prefix = ""
	}
	return n
}

// of returns the name of a key's object.
func (n names) of(key string) (string, error) {
	encoded, err := events.EncodeKey(key)
	return n.prefix + encoded + n.suffix, err
}

// errHashed says that a name holds the hash of its key.
var errHashed = errors.New("the name holds a hash of the key")

// key returns the key that an object's name holds. It fails with errHashed for one that is
// hashed, and with events.ErrKey for a name that no key has.
func (n names) key(name string) (string, error) {
	encoded, in := strings.CutPrefix(name, n.prefix)
	encoded, ends := strings.CutSuffix(encoded, n.suffix)
	if !in || !ends {
		return "", events.ErrKey
	}
	if strings.HasPrefix(encoded, "==") {
		return "", errHashed
	}
	return events.DecodeKey(encoded)
}
