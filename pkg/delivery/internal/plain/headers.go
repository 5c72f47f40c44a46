package plain

import (
	"maps"
	"strings"

	"github.com/nats-io/nats.go"
)

// HeaderStatus is a header that NATS clients take for a word of the server on a message
// without payload.
const HeaderStatus = "Status"

// Headers copies headers but for those that speak to the broker or its clients. The
// result is never nil.
func Headers(h nats.Header) nats.Header {
	out := maps.Clone(h)
	if out == nil {
		return nats.Header{}
	}
	for name := range out {
		if strings.HasPrefix(name, "Nats-") || name == HeaderStatus {
			delete(out, name)
		}
	}
	return out
}
