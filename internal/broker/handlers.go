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
			event := logger.WithLevel(levelOf(sub, err))
			if sub != nil {
				event = event.Str("subject", sub.Subject)
			}
			event.Err(err).Msg("the broker reports a problem")
		}),
	}
}

// levelOf says how loudly a problem is to be logged. A refused publish or request
// shows up here and nowhere else.
func levelOf(sub *nats.Subscription, err error) zerolog.Level {
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		return zerolog.ErrorLevel
	case errors.Is(err, nats.ErrSlowConsumer) && sub != nil && sub.Type() == nats.ChanSubscription:
		// A pull: there is room for the messages that were asked for, but not always for
		// the word that these were all. Nobody here takes such a channel for complete.
		return zerolog.DebugLevel
	case errors.Is(err, nats.ErrSlowConsumer):
		return zerolog.ErrorLevel
	default:
		return zerolog.WarnLevel
	}
}
