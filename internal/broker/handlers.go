package broker

import (
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"
)

// handlers logs what happens to a connection after it was made. The address is
// taken from the socket: even the client's redacted URL shows a token.
func handlers(logger zerolog.Logger) []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err == nil {
				return // we closed it ourselves
			}
			logger.Warn().Err(err).Msg("connection to the broker lost, trying to get it back")
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			logger.Info().Str("address", nc.ConnectedAddr()).Msg("connected to the broker again")
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			logger.Debug().Err(nc.LastError()).Msg("connection to the broker closed")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			// A refused publish or request shows up here and nowhere else.
			event := logger.Warn()
			if errors.Is(err, nats.ErrPermissionViolation) || errors.Is(err, nats.ErrSlowConsumer) {
				event = logger.Error()
			}
			if sub != nil {
				event = event.Str("subject", sub.Subject)
			}
			event.Err(err).Msg("the broker reports a problem")
		}),
	}
}
