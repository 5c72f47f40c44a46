package connfile

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// A hostKey is one that the server may show: a key, or the fingerprint of one.
type hostKey struct {
	key         ssh.PublicKey // nil where only the fingerprint is known
	fingerprint string
}

const fingerprintMark = "SHA256:"

// parseHostKey reads a line of known_hosts for the server at address, a public key, or a
// fingerprint.
func parseHostKey(text, address string) (hostKey, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return hostKey{}, errors.New("it is empty")
	}
	if digits, ok := strings.CutPrefix(fields[0], fingerprintMark); ok {
		if sum, err := base64.RawStdEncoding.Strict().DecodeString(digits); err != nil || len(sum) != 32 {
			return hostKey{}, fmt.Errorf("%.100q is not %s and 43 characters", fields[0], fingerprintMark)
		}
		return hostKey{fingerprint: fields[0]}, nil
	}
	if strings.HasPrefix(fields[0], "@") {
		return hostKey{}, fmt.Errorf("lines with %.40s are not taken; give the server's own key", fields[0])
	}
	if key := parsePublicKey(fields); key != nil {
		return hostKey{key: key, fingerprint: ssh.FingerprintSHA256(key)}, nil
	}
	key := parsePublicKey(fields[1:])
	if key == nil {
		return hostKey{}, fmt.Errorf("%.100q is neither a line of known_hosts, nor a public key, nor a fingerprint", text)
	}
	names := strings.Split(strings.ToLower(fields[0]), ",")
	switch wanted := strings.ToLower(knownhosts.Normalize(address)); {
	case strings.HasPrefix(fields[0], "|"):
		return hostKey{}, fmt.Errorf("the name in it is hashed; write %s in its place", wanted)
	case !slices.Contains(names, wanted):
		return hostKey{}, fmt.Errorf("it is for %.100s, and not for %s", fields[0], wanted)
	}
	return hostKey{key: key, fingerprint: ssh.FingerprintSHA256(key)}, nil
}

// parsePublicKey reads a key after its type, nil if there is none.
func parsePublicKey(fields []string) ssh.PublicKey {
	if len(fields) < 2 {
		return nil
	}
	data, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil {
		return nil
	}
	key, err := ssh.ParsePublicKey(data)
	if err != nil || key.Type() != fields[0] {
		return nil
	}
	return key
}

// hostKeys are all that the server may show.
type hostKeys []hostKey

// A strangerError says that the server has shown a key that is none of them.
type strangerError struct{ kind, fingerprint string }

func (e *strangerError) Error() string {
	return fmt.Sprintf("the server shows the %s key %s, which is none of host_keys", e.kind, e.fingerprint)
}

// check is an ssh.HostKeyCallback.
func (h hostKeys) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	shown := ssh.FingerprintSHA256(key)
	for _, k := range h {
		if subtle.ConstantTimeCompare([]byte(k.fingerprint), []byte(shown)) == 1 {
			return nil
		}
	}
	return &strangerError{key.Type(), shown}
}

// algorithms returns those to ask for: of the keys that are known, and, where there are
// fingerprints, all others behind them. Certificates of hosts are none.
func (h hostKeys) algorithms() []string {
	var out []string
	all := false
	for _, k := range h {
		if k.key == nil {
			all = true
			continue
		}
		out = append(out, algorithmsOf(k.key.Type())...)
	}
	if all {
		for _, name := range ssh.SupportedAlgorithms().HostKeys {
			if !strings.Contains(name, "-cert-") {
				out = append(out, name)
			}
		}
	}
	return unique(out)
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// algorithmsOf returns the algorithms by which a key of a type signs.
func algorithmsOf(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// without returns algorithms without those of a type of key.
func without(algorithms []string, keyType string) []string {
	return slices.DeleteFunc(slices.Clone(algorithms), func(name string) bool {
		return slices.Contains(algorithmsOf(keyType), name)
	})
}
