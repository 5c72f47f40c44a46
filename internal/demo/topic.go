package demo

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/hms-utl/extsync/internal/local"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
)

// topic is the one that the last step is about, and these are the channels that read it.
const (
	topic   = "policies"
	portal  = "portal"
	archive = "archive"
	search  = "search"
)

// fanOut publishes once for two systems, then adds a third one.
func (d *demo) fanOut(ctx context.Context) (err error) {
	d.begin("One push, two systems, one answer; then a third system is added",
		"Channels that read a topic share its updates. One that is made later gets the\nnewest version of everything that the topic has.")
	var receivers []*local.Receiver
	defer func() {
		for _, r := range receivers {
			err = errors.Join(err, r.Close())
		}
	}()
	reads := func(names ...string) error {
		file := channels.File{Topics: []channels.Topic{channels.Topic{Name: topic}.WithDefaults()}}
		for _, name := range names {
			r, err := local.StartReceiver(ctx)
			if err != nil {
				return err
			}
			receivers = append(receivers, r)
			models := local.SketchChannels(r.URL(), filepath.Join(filepath.Dir(d.erpFile), name+".db"))
			cfg := models[0]
			if name == archive {
				cfg = models[1]
			}
			cfg.Name, cfg.From = name, &channels.From{Topic: topic}
			file.Channels = append(file.Channels, cfg)
			d.did("channel %s reads topic %s", name, topic)
		}
		_, err := d.stack.Apply(ctx, file, false)
		return err
	}
	if err := reads(portal, archive); err != nil {
		return err
	}
	u := policy("", 1, content(6))
	u.Topic = topic
	d.did("push %s version %s to topic %s and wait", u.Key, u.Version, topic)
	answer, err := d.stack.PublishTopic(ctx, d.publisher, u, timeout/2, nil)
	if err != nil {
		return err
	}
	for _, a := range answer.Channels {
		if a.Ack != nil {
			d.got("%s: %s", a.Channel, a.Ack.Outcome)
		}
	}
	if err := d.expect(answer.Outcome == operate.TopicDelivered && len(answer.Channels) == 2, "both systems have it, by one push: %s", answer.Outcome); err != nil {
		return err
	}
	if err := reads(search); err != nil {
		return err
	}
	w, err := d.await(ctx, search, func(w operate.Whereabouts) bool { return w.State == string(events.Delivered) })
	if err != nil {
		return err
	}
	d.tell(w)
	held, _ := receivers[2].Item(key)
	return d.expect(held.Version == u.Version, "%s has version %s, which was pushed before it was there", search, u.Version)
}
