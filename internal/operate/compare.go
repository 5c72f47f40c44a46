package operate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/sleep"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// CompareOptions say what to compare.
type CompareOptions struct {
	Source *relay.Source
	// Overlap is how far before the newest version changes are looked for at the end, and Settle
	// how long a relay may take to publish one.
	Overlap relay.Overlap
	Settle  time.Duration
	// Repair publishes what is missing or behind.
	Repair bool
	// Found is called for each disagreement, Progress after each batch of rows.
	Found    func(Disagreeing) error
	Progress func(Comparison)
}

const (
	compareRows  = 500
	compareBytes = 8 << 20
	// compareSuspects is how many disagreements are looked at again at the end: they may have
	// been changes that were under way. More than that are no such changes.
	compareSuspects = 5000
)

// Compare compares each row of a query with the newest version at the broker, as the guard of
// a publisher sees it, and looks for keys that the broker has and the platform has not, where
// the source's target is, or any row's. Keys that change meanwhile are no disagreements. It
// holds eight bytes for each key: that a key is gone is overlooked once in 10^13 keys if the
// platform has a million.
func (c *Client) Compare(ctx context.Context, o CompareOptions) (Comparison, error) {
	m := &comparing{c: c, o: o, known: newKeySet(), targets: map[string]*comparedTarget{}}
	if o.Source.Target != "" {
		if t, err := m.target(ctx, o.Source.Target); err != nil || t.refused != nil {
			return m.sum, errors.Join(err, t.why())
		}
	}
	if o.Repair {
		publisher, err := c.Publisher(ctx)
		if err != nil {
			return m.sum, err
		}
		m.publish = publisher.PublishAll
	}
	for row, err := range o.Source.Rows(ctx, versioning.Version{}, c.Conn.MaxPayload()) {
		if err != nil {
			return m.sum, err
		}
		if err := m.take(ctx, row); err != nil {
			return m.sum, err
		}
	}
	if err := m.flush(ctx); err != nil {
		return m.sum, err
	}
	if err := m.gone(ctx); err != nil {
		return m.sum, err
	}
	err := m.lookAgain(ctx)
	o.Progress(m.sum)
	return m.sum, err
}

// A comparing is a comparison under way.
type comparing struct {
	c       *Client
	o       CompareOptions
	publish publishAll // nil: nothing is repaired
	sum     Comparison
	known   keySet // what the platform has
	targets map[string]*comparedTarget
	newest  versioning.Version // of the rows

	batch    []relay.StateRow
	bytes    int64
	suspects []suspect
}

// A comparedTarget is a target of rows.
type comparedTarget struct {
	heads   *headReader
	refused error // why it takes no updates
}

func (t *comparedTarget) why() error {
	if t == nil {
		return nil
	}
	return t.refused
}

// A suspect is a key about which there seems to be a disagreement.
type suspect struct {
	Disagreeing
	tag versioning.Tag // of the platform
}

// target returns a target by its name. The error is not the target's own.
func (m *comparing) target(ctx context.Context, name string) (*comparedTarget, error) {
	if t := m.targets[name]; t != nil {
		return t, nil
	}
	t := &comparedTarget{}
	route, err := relay.RouteOf(name)
	if err == nil {
		err = m.c.CheckRoute(ctx, route)
	}
	if err == nil {
		t.heads, err = m.c.headReader(ctx, route)
	}
	switch {
	case errors.Is(err, channels.ErrNotFound), errors.Is(err, channels.ErrNoTopic), errors.Is(err, events.ErrName),
		errors.Is(err, events.ErrReadsTopic), errors.Is(err, events.ErrChannelDeleted):
		t.refused = err
	case err != nil:
		return nil, fmt.Errorf("target %s: %w", name, err)
	}
	m.targets[name] = t
	return t, nil
}

// take puts a row into the batch.
func (m *comparing) take(ctx context.Context, row relay.StateRow) error {
	m.sum.Rows++
	if row.Bad == nil {
		t, err := m.target(ctx, row.Target)
		if err != nil {
			return err
		}
		row.Bad = t.refused
	}
	if row.Bad != nil {
		if enc, err := events.EncodeKey(row.Update.Key); err == nil { // it is not gone
			m.known.add(place(row.Target, enc))
		}
		return m.report(Disagreeing{
			Finding: CompareBad, Target: row.Target, Key: row.Update.Key, Platform: row.Update.Version, Note: words.Of(row.Bad),
		})
	}
	enc, err := events.EncodeKey(row.Update.Key)
	if err != nil {
		return err // a good row has a good key
	}
	m.known.add(place(row.Target, enc))
	if order, err := row.Update.Version.Compare(m.newest); err == nil && order > 0 {
		m.newest = row.Update.Version
	}
	row.Update.Base = versioning.Version{} // a repair is no change from what is there
	m.batch = append(m.batch, row)
	if m.bytes += row.Size; len(m.batch) < compareRows && m.bytes < compareBytes {
		return nil
	}
	return m.flush(ctx)
}

// place tells keys of several targets apart.
func place(target, encodedKey string) string { return target + " " + encodedKey }

// flush compares the batch.
func (m *comparing) flush(ctx context.Context) error {
	heads, err := m.heads(ctx, len(m.batch), func(i int) (string, string) { return m.batch[i].Target, m.batch[i].Update.Key })
	if err != nil {
		return err
	}
	var repair []suspect
	var updates []events.Update
	for i := range m.batch {
		u := &m.batch[i].Update
		s := suspect{tag: u.Tag(), Disagreeing: Disagreeing{Target: m.batch[i].Target, Key: u.Key}}
		s.compare(heads[i])
		switch {
		case s.Finding == "":
			m.sum.Agree++
		case m.publish != nil && (s.Finding == CompareMissing || s.Finding == CompareBehind):
			repair, updates = append(repair, s), append(updates, *u)
		default:
			if err := m.suspect(s); err != nil {
				return err
			}
		}
	}
	if err := m.repair(ctx, repair, updates); err != nil {
		return err
	}
	m.batch, m.bytes = m.batch[:0], 0
	m.o.Progress(m.sum)
	return nil
}

// compare says what a head means for a key of the platform.
func (s *suspect) compare(h head) {
	s.Platform, s.Broker, s.Finding = s.tag.Version, h.Version, ""
	order, err := s.tag.Version.Compare(h.Version)
	switch {
	case h.IsZero():
		s.Finding = CompareMissing
	case err != nil:
		s.Finding = CompareDiffers
	case order > 0:
		s.Finding = CompareBehind
	case order < 0:
		s.Finding = CompareAhead
	case s.tag != h.Tag:
		s.Finding = CompareDiffers
	}
}

// heads returns the heads of n keys, each of a target that was met before.
func (m *comparing) heads(ctx context.Context, n int, of func(i int) (target, key string)) ([]head, error) {
	keys, places := map[string][]string{}, map[string][]int{}
	for i := range n {
		target, key := of(i)
		keys[target], places[target] = append(keys[target], key), append(places[target], i)
	}
	out := make([]head, n)
	for target, keys := range keys {
		heads, err := m.targets[target].heads.read(ctx, keys)
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", target, err)
		}
		for i, h := range heads {
			out[places[target][i]] = h
		}
	}
	return out, nil
}

// report counts a disagreement and tells it.
func (m *comparing) report(d Disagreeing) error {
	*m.sum.count(d.Finding)++
	if d.Repaired {
		m.sum.Repaired++
	}
	return m.o.Found(d)
}

// suspect keeps what is to be looked at again, if there is room.
func (m *comparing) suspect(s suspect) error {
	if len(m.suspects) >= compareSuspects {
		return m.report(s.Disagreeing)
	}
	m.suspects = append(m.suspects, s)
	return nil
}

// lookAgain tells disagreements from changes that were under way: what the platform has
// changed since was read again, and the relay had time to publish it.
func (m *comparing) lookAgain(ctx context.Context) error {
	if len(m.suspects) == 0 {
		return nil
	}
	at := map[string]int{}
	for i, s := range m.suspects {
		at[place(s.Target, s.Key)] = i
	}
	for row, err := range m.o.Source.Rows(ctx, m.o.Overlap.Before(m.newest), m.c.Conn.MaxPayload()) {
		if err != nil {
			return err
		}
		if i, there := at[place(row.Target, row.Update.Key)]; there && row.Bad == nil {
			m.suspects[i].tag = row.Update.Tag()
		}
	}
	if len(m.suspects) < compareSuspects && !sleep.For(ctx, m.o.Settle) {
		return ctx.Err()
	}
	for from := 0; from < len(m.suspects); from += compareRows {
		part := m.suspects[from:min(from+compareRows, len(m.suspects))]
		heads, err := m.heads(ctx, len(part), func(i int) (string, string) { return part[i].Target, part[i].Key })
		if err != nil {
			return err
		}
		for i := range part {
			if err := m.decide(&part[i], heads[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// decide reports a suspect, if it still is one.
func (m *comparing) decide(s *suspect, h head) error {
	seen := s.Broker
	switch {
	case !s.tag.IsZero():
		s.compare(h)
	case h.IsZero() || h.Op == events.Delete:
		return nil // the broker has let go of it, too
	}
	// What the broker has got since may be newer than what was read of the platform last.
	if s.Finding == "" || s.Finding == CompareAhead && seen != h.Version {
		m.sum.Agree++
		return nil
	}
	return m.report(s.Disagreeing)
}
