package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// A Keyed names a key in a channel.
type Keyed struct {
	Channel string `path:"channel" maxLength:"63"`
	Key     string `path:"key" maxLength:"1024"`
}

type resetInput struct {
	Keyed
	Confirm string `query:"confirm" maxLength:"1024" doc:"The key. Without it nothing is done, and the answer says so"`
}

type payloadOutput struct{ Body operate.Payload }

type readBackOutput struct{ Body operate.ReadBack }

type resetOutput struct{ Body operate.Reset }

type giveUpOutput struct{ Body operate.GivenUp }

// check returns the problem of a channel or key in the path that none can be.
func (in *Keyed) check() error {
	if err := events.CheckChannel(in.Channel); err != nil {
		return fmt.Errorf("%w: %w", channels.ErrNotFound, err)
	}
	return checkKey(in.Key)
}

func (s *server) contentRoutes() {
	const one = "/v1/channels/{channel}/entities/{key}"
	register(s, route{
		id: "get-payload", method: http.MethodGet, path: one + "/payload", tag: "Entities",
		summary: "Show the content of a key's newest version; the audit log has it", rule: contents, status: http.StatusOK,
	}, func(ctx context.Context, in *Keyed) (*payloadOutput, error) {
		if err := in.check(); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		p, err := s.acting(ctx).Payload(ctx, in.Channel, in.Key)
		return &payloadOutput{Body: p}, err
	})
	register(s, route{
		id: "read-back-entity", method: http.MethodPost, path: one + "/read-back", tag: "Entities",
		summary: "What does the target hold of a key, beside what would be sent now? The audit log has it", rule: contents, status: http.StatusOK,
	}, func(ctx context.Context, in *Keyed) (*readBackOutput, error) {
		if err := in.check(); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, adminTimeout)
		defer cancel()
		b, err := s.acting(ctx).ReadBack(ctx, in.Channel, in.Key)
		return &readBackOutput{Body: b}, err
	})
	register(s, route{
		id: "reset-entity", method: http.MethodPost, path: one + "/reset", tag: "Entities",
		summary: "Have the versions of a key start anew in a channel", rule: admin, status: http.StatusOK,
	}, s.resetEntity)
	register(s, route{
		id: "give-up-entity", method: http.MethodPost, path: one + "/give-up", tag: "Entities",
		summary: "Make a dead letter of a key's update that fails", rule: operating, status: http.StatusOK,
	}, func(ctx context.Context, in *Keyed) (*giveUpOutput, error) {
		ctx, cancel := context.WithTimeout(ctx, adminTimeout)
		defer cancel()
		was, err := s.find(ctx, in)
		if err != nil {
			return nil, err
		}
		done, err := s.acting(ctx).GiveUp(ctx, was)
		return &giveUpOutput{Body: done}, err
	})
}

// find returns where a key is.
func (s *server) find(ctx context.Context, in *Keyed) (operate.Whereabouts, error) {
	if err := in.check(); err != nil {
		return operate.Whereabouts{}, err
	}
	found, err := s.o.Client.Find(ctx, in.Key, in.Channel)
	if err != nil {
		return operate.Whereabouts{}, err
	}
	return found[0], nil
}

// resetEntity resets a key if who asks has typed it.
func (s *server) resetEntity(ctx context.Context, in *resetInput) (*resetOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	was, err := s.find(ctx, &in.Keyed)
	if err != nil {
		return nil, err
	}
	if in.Confirm != in.Key {
		p := problem(http.StatusConflict, "confirm", "nothing was reset: the newest version is "+was.Newest.Version.String()+"; repeat with confirm= and the key")
		p.Channel, p.Key, p.Confirm = in.Channel, in.Key, in.Key
		return nil, p
	}
	done, err := s.acting(ctx).ResetKey(ctx, was)
	return &resetOutput{Body: done}, err
}
