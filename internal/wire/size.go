package wire

import "github.com/nats-io/nats.go"

// messageOverhead is what the broker's store adds to a message, in bytes.
const messageOverhead = 34

// StoredSize returns how much of a stream a message takes, in bytes, as nats-server 2.15
// counts it.
func StoredSize(subject string, h nats.Header, payload int) int64 {
	size := messageOverhead + len(subject) + payload
	if len(h) == 0 {
		return int64(size)
	}
	size += len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(": ") + len(v) + len("\r\n")
		}
	}
	return int64(size)
}
