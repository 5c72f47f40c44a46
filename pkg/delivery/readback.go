package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	diff "github.com/hms-utl/extsync/internal/contents"
	"github.com/hms-utl/extsync/internal/redact"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/delivery/internal/plain"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/transform"
)

// People who look at keys must be no load for a target: each worker reads for a few of them
// at once, one for each channel, and not more often than readBackRate.
const (
	mostReadBacks = 4
	readBackRate  = 1 // a second, for each channel
	readBackBurst = 5
	// readBackWait bounds one, below the channel's own timeout.
	readBackWait = 10 * time.Second
	// mostValue bounds a value that is shown, in bytes.
	mostValue = 4 << 10
)

var errManyReadBacks = errors.New("the worker reads for others; ask again in a moment")

// readBack reads what the target holds of a key, and answers with it beside what would be
// sent. It only reads: nothing comes to the target but by the key's lane.
func (c control) readBack(msg *nats.Msg, key string) {
	said, err := c.readFor(key)
	if err != nil {
		c.answer(msg, err)
		return
	}
	said.Worker = c.t.p.r.worker
	reply := channels.ControlReply{ReadBack: said}
	most := int(c.t.b.js.Conn().MaxPayload()) * 9 / 10 // the rest is for the envelope
	for {
		data, err := json.Marshal(reply)
		if err != nil || len(data) <= most || len(said.Fields) == 0 {
			break
		}
		drop := (len(said.Fields) + 1) / 2
		said.Fields, said.More = said.Fields[:len(said.Fields)-drop], said.More+drop
	}
	c.respond(msg, reply)
}

// readFor does it within what the target and this process are to bear.
func (c control) readFor(key string) (*channels.ReadBack, error) {
	t, r := c.t, c.t.p.r
	if held, is := r.gate.Held(time.Now()); is {
		return nil, fmt.Errorf("nothing is asked of the target now: %s", held.Message)
	}
	for _, slots := range []chan struct{}{r.looking, t.b.readBacks} {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			return nil, errManyReadBacks
		}
	}
	if !r.looks.Allow() || !t.p.lease.Alive() {
		return nil, errManyReadBacks
	}
	ctx, cancel := context.WithTimeout(t.ctx, min(readBackWait, r.entry.Config.Timeout.D()))
	defer cancel()
	b := readBack{c: c, cfg: &r.entry.Config, said: channels.ReadBack{At: timestamp(), Decision: "none"}}
	b.said.Fields = []diff.Field{}
	if err := b.newest(ctx, key); err != nil {
		return nil, err
	}
	if err := b.decide(ctx); err != nil {
		return nil, err
	}
	b.look(ctx)
	return &b.said, nil
}

// A readBack is one on its way.
type readBack struct {
	c    control
	cfg  *channels.Config
	said channels.ReadBack
	// published is the newest update as it was published, ours what would be sent of it, and
	// shown what would be sent had the fields that people do not see other values.
	published   connectors.Attempt
	ours, shown *connectors.Attempt
}

// newest reads the newest update of the key; without one what is asked for is a delete, which
// has no content.
func (b *readBack) newest(ctx context.Context, key string) error {
	t := b.c.t
	enc, err := events.EncodeKey(key)
	if err != nil {
		return err
	}
	b.published = connectors.Attempt{Update: events.Update{Channel: b.cfg.Name, Key: key, Op: events.Delete}, Number: 1}
	msg, err := wire.ReadFromLeader(ctx, t.b.js, t.stream, wire.MessageQuery{LastOn: wire.StoredUpdate(t.b.names, t.route, enc)})
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && wire.IsReset(msg.Header) {
		return nil
	}
	if err != nil {
		return err
	}
	u, malformed := wire.Decode(t.b.names, msg.Subject, msg.Header, msg.Data)
	if malformed != nil {
		b.said.Error = plain.Text(malformed.Error(), events.MaxMessageLen)
		return nil
	}
	u.Channel = b.cfg.Name
	b.published = connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
	b.said.Wanted = &channels.Wanted{Version: u.Version, Digest: b.published.Digest, Op: u.Op, Published: msg.Time.UTC()}
	rec, err := t.b.ledger.GetOf(ctx, b.cfg.Name, t.p.r.entry.ID, enc)
	if err != nil && !errors.Is(err, events.ErrNoRecord) {
		return err
	}
	b.published.Refs = rec.Refs
	return nil
}

// decide does what the channel would do with the update now.
func (b *readBack) decide(ctx context.Context) error {
	if b.said.Wanted == nil {
		return nil
	}
	tr, err := transform.New(b.cfg.Transform())
	if err != nil {
		return err
	}
	out, send, res := tr.Apply(ctx, b.published)
	switch {
	case send:
		b.said.Decision, b.ours = "send", &out
	case res.Code == events.CodeFiltered && b.cfg.OnUnmatch == channels.DeleteUnmatched:
		b.said.Decision = "remove"
	case res.Code == events.CodeFiltered:
		b.said.Decision = "filtered"
	default:
		b.said.Decision, b.said.Error = "failed", plain.Text(res.Err.Error(), events.MaxMessageLen)
	}
	if b.ours == nil || len(b.cfg.Redact) == 0 {
		return nil
	}
	// What the mapping makes of a hidden field is hidden, too, wherever it comes to lie.
	without := b.published
	var hidden []string
	if without.Payload, hidden = redact.Apply(without.Payload, b.cfg.Redact); without.Payload == nil && hidden != nil {
		return nil // nothing of it can be shown
	}
	if out, send, _ := tr.Apply(ctx, without); send {
		b.shown = &out
	}
	return nil
}

// look reads the target. What goes wrong there is told, and is no error.
func (b *readBack) look(ctx context.Context) {
	err := b.at(ctx)
	b.said.Readable = err == nil
	if err != nil {
		b.said.WhyNot = plain.Text(err.Error(), events.MaxMessageLen)
	}
}

func (b *readBack) at(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the connector panicked: %v", p)
			b.c.t.log.Error().Err(err).Msg("connector misbehaved")
		}
	}()
	open := b.c.t.p.r.target.use(func(conn connectors.Sender) {
		target, ok := transform.Inner(conn).(*connectors.Opened)
		switch {
		case !ok || !target.Can().Reads:
			err = fmt.Errorf("a target of kind %s, as it is configured, cannot be read", b.cfg.Connector.Kind)
		case target.Can().Fetches:
			err = b.fetch(ctx, target)
		default:
			err = b.read(ctx, target)
		}
	})
	if !open {
		return errors.New("the connector is being closed; ask again in a moment")
	}
	return err
}

// read reads versions alone.
func (b *readBack) read(ctx context.Context, target *connectors.Opened) error {
	held, err := target.Read(ctx, []string{b.published.Key})
	if err != nil {
		return err
	}
	if len(held) != 1 {
		return fmt.Errorf("the connector gave %d answers for one key", len(held))
	}
	b.holds(held[0], !held[0].IsZero())
	b.said.WhyNot = "a target of kind " + b.cfg.Connector.Kind + " tells versions, and no contents"
	return nil
}

func (b *readBack) holds(held connectors.Held, there bool) {
	b.said.Target = channels.ReadBackHeld{Found: there, Version: held.Version, Digest: held.Digest, Op: held.Op}
}

// fetch reads contents, too, and compares them.
func (b *readBack) fetch(ctx context.Context, target *connectors.Opened) error {
	a := b.published
	if b.ours != nil {
		a = *b.ours
	} else {
		a.Op, a.Payload = events.Delete, nil
	}
	got, err := target.Fetch(ctx, a)
	if err != nil {
		return err
	}
	visible := got
	if len(b.cfg.Redact) > 0 {
		visible = connectors.Fetched{}
		if b.shown != nil {
			if visible, err = target.Fetch(ctx, *b.shown); err != nil {
				return err
			}
		}
	}
	b.holds(got.Held, got.There)
	b.said.Compared = true
	if b.said.Error == "" && b.ours != nil {
		b.said.Error = got.Unwritable
	}
	room := min(mostValue, int(b.c.t.b.js.Conn().MaxPayload())/(4*diff.MostFields))
	ignore := b.said.Decision != "send" && b.said.Decision != "remove"
	b.said.Diff = diff.Compare(b.parts(got.Parts, visible.Parts), room, ignore)
	return nil
}

// parts returns what is compared, and what may be seen of it: visible are the parts of what
// would be sent without the hidden fields.
func (b *readBack) parts(got, visible []connectors.Part) []diff.Part {
	out := make([]diff.Part, len(got))
	for i, p := range got {
		o := diff.Part{Name: p.Name, Ours: diff.Side{Full: p.Ours, Shown: p.Ours}, Theirs: diff.Side{Full: p.Theirs, Shown: p.Theirs}, Differs: p.Differs}
		if len(b.cfg.Redact) > 0 {
			o.Ours.Shown = nil
			// By name: a mapping that sees no hidden field may leave parts out.
			if at := slices.IndexFunc(visible, func(v connectors.Part) bool { return v.Name == p.Name }); at >= 0 {
				o.Ours.Shown = diff.Redact(p.Name, visible[at].Ours, b.cfg.Redact)
			}
			o.Theirs.Shown = diff.Redact(p.Name, p.Theirs, b.cfg.Redact)
		}
		out[i] = o
	}
	return out
}
