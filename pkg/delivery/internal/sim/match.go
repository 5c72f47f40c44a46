package sim

import (
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/internal/wire"
)

// matches reports whether a subject, or a narrower pattern, is of a pattern.
func matches(pattern, subject string) bool {
	for {
		p, prest, pmore := strings.Cut(pattern, ".")
		if p == ">" {
			return true
		}
		s, srest, smore := strings.Cut(subject, ".")
		if p != "*" && p != s || pmore != smore {
			return false
		}
		if !pmore {
			return true
		}
		pattern, subject = prest, srest
	}
}

// overlap reports whether two patterns have subjects in common.
func overlap(a, b string) bool {
	for {
		p, prest, pmore := strings.Cut(a, ".")
		q, qrest, qmore := strings.Cut(b, ".")
		if p == ">" || q == ">" {
			return true
		}
		if p != q && p != "*" && q != "*" || pmore != qmore {
			return false
		}
		if !pmore {
			return true
		}
		a, b = prest, qrest
	}
}

// transform returns the subject under which a message is stored: of the one wildcard of the
// source, by the mappings that channels use.
func transform(source, destination, subject string) string {
	prefix, _ := strings.CutSuffix(source, "*")
	key := strings.TrimPrefix(subject, prefix)
	tokens := strings.Split(destination, ".")
	for i, token := range tokens {
		switch {
		case strings.HasPrefix(token, "{{partition("):
			partitions, _, _ := strings.Cut(strings.TrimPrefix(token, "{{partition("), ",")
			of, err := strconv.Atoi(partitions)
			if err != nil {
				panic("sim: " + destination)
			}
			tokens[i] = itoa(wire.Partition(key, of))
		case strings.HasPrefix(token, "{{wildcard("):
			tokens[i] = key
		}
	}
	return strings.Join(tokens, ".")
}
