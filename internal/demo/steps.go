package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/hms-utl/extsync/internal/local"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// key is the policy that the demonstration is about.
const key = "p-2023-vax"

func policy(channel string, version int64, content string) events.Update {
	return events.Update{
		Channel: channel, Key: key, Version: number(version),
		Payload: fmt.Appendf(nil, `{"policy_id":%q,"content":%q}`, key, content),
	}
}

func number(n int64) versioning.Version { return versioning.Must(versioning.Number(n)) }

func (d *demo) register(ctx context.Context) error {
	d.begin("Two channels, one for each external system", "A channel is a named route from the platform to one system.")
	applied, err := d.stack.Apply(ctx, channels.File{Channels: local.SketchChannels(d.receiver.URL(), d.erpFile)}, false)
	if err != nil {
		return err
	}
	for _, c := range applied.Channels {
		d.did("channel %s: %s", c.Channel, c.Change)
	}
	if d.publisher, err = d.stack.Publisher(ctx); err != nil {
		return err
	}
	return d.expect(len(applied.Channels) == 2, "both channels exist")
}

func (d *demo) deliver(ctx context.Context) error {
	d.begin("An update arrives, and its ack comes back",
		"\"Stored\" is not \"delivered\": the ack is sent when the external system has it.")
	for _, channel := range []string{local.CalendarChannel, local.ERPChannel} {
		if err := d.pushAndWait(ctx, policy(channel, 7, "Booster every 6 months")); err != nil {
			return err
		}
	}
	if err := d.expect(slices.Equal(d.accepted(), []string{"7"}), "the calendar got version 7, once"); err != nil {
		return err
	}
	return d.expectRow(ctx, 7, "Booster every 6 months")
}

func (d *demo) guard(ctx context.Context) error {
	d.begin("Old and contradicting versions are refused",
		"A late retry must never overwrite what is newer. The platform's version decides,\nnot the order in which messages happen to arrive.")
	if err := d.expectRefusal(ctx, policy(local.CalendarChannel, 6, "Booster every year"), events.ErrStale); err != nil {
		return err
	}
	if err := d.expectRefusal(ctx, policy(local.CalendarChannel, 7, "No booster at all"), events.ErrConflict); err != nil {
		return err
	}
	d.did("push %s version 7 again, with the same content", key)
	receipt, err := d.publisher.Publish(ctx, policy(local.CalendarChannel, 7, "Booster every 6 months"))
	if err != nil {
		return err
	}
	if err := d.expect(receipt.Duplicate, "repeating a push is harmless: it is recognised as a duplicate"); err != nil {
		return err
	}
	return d.expect(len(d.receiver.Calls()) == 1, "the calendar was not called again")
}

func (d *demo) outage(ctx context.Context) error {
	d.begin("The calendar is down while versions 8, 9 and 10 are pushed",
		"Other systems must not notice, and afterwards only the newest version counts:\nafter a day of outage one write for each key is enough.")
	if err := d.receiver.Pause(); err != nil {
		return err
	}
	for version := int64(8); version <= 10; version++ {
		if err := d.push(ctx, policy(local.CalendarChannel, version, content(version))); err != nil {
			return err
		}
	}
	if err := d.pushAndWait(ctx, policy(local.ERPChannel, 10, content(10))); err != nil {
		return err
	}
	waiting, err := d.await(ctx, local.CalendarChannel, func(w operate.Whereabouts) bool { return w.State == string(wire.StateRetrying) })
	if err != nil {
		return err
	}
	d.tell(waiting)
	if err := d.expect(waiting.Target.Version == number(7) && waiting.Newest.Version == number(10),
		"the calendar holds version 7, version 10 waits; the ERP database has 10 already"); err != nil {
		return err
	}
	d.did("the calendar is back")
	if err := d.receiver.Resume(ctx); err != nil {
		return err
	}
	if err := d.pushAndWait(ctx, policy(local.CalendarChannel, 10, content(10))); err != nil {
		return err
	}
	if err := d.expect(slices.Equal(d.accepted(), []string{"7", "10"}), "of versions 8, 9 and 10 only 10 was delivered"); err != nil {
		return err
	}
	return d.expectSuperseded(ctx, 8, 9)
}

func content(version int64) string { return fmt.Sprintf("Booster every %d months", version) }

func (d *demo) expectSuperseded(ctx context.Context, versions ...int64) error {
	for _, v := range versions {
		u := policy(local.CalendarChannel, v, content(v))
		ack, err := d.outcome(ctx, u)
		if err != nil {
			return err
		}
		if err := d.expect(ack.Outcome == events.Superseded, "version %d has an outcome too: %s", v, ack.Outcome); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) lateWrite(ctx context.Context) error {
	d.begin("A write that comes too late",
		"A worker that was frozen in the middle of a call may send version 9 now. extsync\nsends the version along, so a target can refuse what is old. This one does.")
	d.did("send version 9 to the calendar, past extsync")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.receiver.URL(), http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set(events.HeaderSubject, key)
	req.Header.Set(events.HeaderVersion, "9")
	req.Close = true // leave no connection behind
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	d.got("%s, it holds version %s", resp.Status, resp.Header.Get(events.HeaderVersion))
	held, _ := d.receiver.Item(key)
	return d.expect(resp.StatusCode == http.StatusConflict && held.Version == number(10), "the calendar still holds version 10")
}

func (d *demo) whereabouts(ctx context.Context) error {
	d.begin("Which system holds what?", "The ledger answers at any time, also after a restart: 'extsync get "+key+"'.")
	for _, channel := range []string{local.CalendarChannel, local.ERPChannel} {
		w, err := d.await(ctx, channel, func(w operate.Whereabouts) bool { return w.State == string(events.Delivered) })
		if err != nil {
			return err
		}
		d.tell(w)
		if err := d.expect(w.Target.Version == number(10), "%s holds the newest version", channel); err != nil {
			return err
		}
	}
	return d.expectRow(ctx, 10, content(10))
}

// push publishes without waiting for the ack.
func (d *demo) push(ctx context.Context, u events.Update) error {
	d.did("push %s version %s to %s", u.Key, u.Version, u.Channel)
	receipt, err := d.publisher.Publish(ctx, u)
	if err != nil {
		return err
	}
	d.got("stored (sequence %d)", receipt.Sequence)
	return nil
}

// pushAndWait publishes and expects the ack to say delivered.
func (d *demo) pushAndWait(ctx context.Context, u events.Update) error {
	d.did("push %s version %s to %s and wait", u.Key, u.Version, u.Channel)
	start := time.Now()
	_, ack, err := d.publisher.Request(ctx, u)
	if err != nil {
		return err
	}
	d.got("ack: %s, after %s", ack.Outcome, time.Since(start).Round(time.Millisecond))
	return d.expect(ack.Outcome == events.Delivered, "%s has version %s", u.Channel, u.Version)
}

func (d *demo) expectRefusal(ctx context.Context, u events.Update, want error) error {
	d.did("push %s version %s to %s: %s", u.Key, u.Version, u.Channel, u.Payload)
	_, err := d.publisher.Publish(ctx, u)
	if err != nil {
		d.got("%v", err)
	}
	if err != nil && !errors.Is(err, events.ErrStale) && !errors.Is(err, events.ErrConflict) {
		return err
	}
	return d.expect(errors.Is(err, want), "version %s is refused: %v", u.Version, want)
}
