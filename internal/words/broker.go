package words

import (
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ofNATS is what the client's own errors mean.
func ofNATS() map[error]string {
	const late, lost = "the broker did not answer in time", "the connection to the broker is lost"
	const expired = "our credentials have expired"
	return map[error]string{
		nats.ErrNoResponders:             "nobody answers there",
		nats.ErrTimeout:                  late,
		jetstream.ErrNoStreamResponse:    late,
		jetstream.ErrAsyncPublishTimeout: late,
		nats.ErrReconnectBufExceeded:     lost,
		nats.ErrConnectionReconnecting:   lost,
		nats.ErrDisconnected:             lost,
		nats.ErrConnectionClosed:         lost,
		nats.ErrStaleConnection:          lost,
		nats.ErrNoServers:                "no broker answers",
		nats.ErrAuthorization:            "it does not know our credentials",
		nats.ErrAuthExpired:              expired,
		nats.ErrAccountAuthExpired:       expired,
		nats.ErrAuthRevoked:              "our credentials were revoked",
		nats.ErrMaxPayload:               "the message is larger than the broker takes (max_payload)",
		nats.ErrSecureConnRequired:       "it demands TLS",
		nats.ErrSecureConnWanted:         "it does not offer TLS",
	}
}

func ofBroker(err error) string {
	for known, text := range ofNATS() {
		if err == known { //nolint:errorlint // the error itself: a look-up would panic for types that cannot be compared
			return text
		}
	}
	switch e := err.(type) { //nolint:errorlint // likewise
	case *jetstream.APIError:
		return ofAPI(e)
	case jetstream.JetStreamError:
		if e.APIError() != nil {
			return ofAPI(e.APIError())
		}
	}
	return ""
}

func ofAPI(e *jetstream.APIError) string {
	return fmt.Sprintf("the broker says: %s (%d)", e.Description, e.ErrorCode)
}
