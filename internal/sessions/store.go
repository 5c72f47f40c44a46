package sessions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

const (
	// look is how often new records are asked for.
	look        = 2 * time.Second
	readTimeout = 10 * time.Second
	// wholeEvery is how often the whole list is read.
	wholeEvery = 30 * time.Second
	// maxKnown bounds how many logins the list holds.
	maxKnown  = 20_000
	maxRecord = 4 << 10

	kindBegun = "begun"
	kindEnded = "ended"
)

// A Record is what the list shows of a login. Nothing follows from it.
type Record struct {
	Format int    `json:"f"`
	ID     string `json:"id"`
	Who    string `json:"who"`
	// Installation and Token are those of the Session.
	Installation string    `json:"at,omitempty"`
	Token        string    `json:"token,omitempty" doc:"The id of the token that it was made by; none: it was made by a provider"`
	From         string    `json:"from,omitempty"`
	Created      time.Time `json:"created"`
	Expires      time.Time `json:"expires"`
}

// A Store knows which logins have ended, and lists those that have not. While it runs it
// forgets no end before the login would have expired, whatever the broker holds. It is safe
// for concurrent use.
type Store struct {
	js           jetstream.JetStream
	bucket       string
	stream       jetstream.Stream
	installation string

	loading sync.Mutex // held by load, for made, next and whole
	made    time.Time
	next    uint64
	whole   time.Time // when all of it was read

	mu    sync.Mutex
	begun map[string]Record
	ended map[string]time.Time // when it would have expired
}

// OpenStore reads what a provisioned broker has, else events.ErrNotProvisioned. Keep keeps
// it up to date.
func OpenStore(ctx context.Context, js jetstream.JetStream, names events.Names) (*Store, error) {
	s := &Store{js: js, bucket: wire.SessionsBucket(names), begun: map[string]Record{}, ended: map[string]time.Time{}}
	incarnation, err := wire.ReadIncarnation(ctx, js, names)
	if err != nil {
		return nil, fmt.Errorf("open the sessions: %w", err)
	}
	s.installation = fmt.Sprintf("%s %s", names.Prefix(), incarnation)
	s.stream, err = js.Stream(ctx, wire.KVStream(s.bucket))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("%w: bucket %s is missing; apply the channels again", events.ErrNotProvisioned, s.bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("open the sessions: %w", err)
	}
	return s, s.load(ctx)
}

// Installation is what logins are good for: this installation in the incarnation that it had
// when the store was opened. After 'extsync recover' nobody is logged in whose end an older
// broker has forgotten.
func (s *Store) Installation() string { return s.installation }

// Keep follows what is stored until ctx ends.
func (s *Store) Keep(ctx context.Context) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = s.load(ctx) // the next tick tries again; what is known stays
		}
	}
}

// load adds what is new to what is known. It reads everything if the broker's stream is
// not the one of before, or is shorter.
func (s *Store) load(ctx context.Context) error {
	s.loading.Lock()
	defer s.loading.Unlock()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	info, err := s.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("read sessions: %w", err)
	}
	if last := info.State.LastSeq; !info.Created.Equal(s.made) || last+1 < s.next {
		s.made, s.next = info.Created, 1
	}
	if time.Since(s.whole) >= wholeEvery { // a broker may have lost its end, and have another one
		s.next, s.whole = 1, time.Now()
	}
	if last := info.State.LastSeq; s.next <= last {
		q := wire.StreamQuery{Stream: wire.KVStream(s.bucket), Subject: wire.KVSubject(s.bucket, ">"), From: s.next, Until: last}
		for msg, err := range wire.ReadStream(ctx, s.js, q) {
			if err != nil {
				return fmt.Errorf("read sessions: %w", err)
			}
			s.learn(strings.TrimPrefix(msg.Subject, wire.KVSubject(s.bucket, "")), msg.Data)
			s.next = msg.Sequence + 1
		}
		s.next = last + 1
	}
	s.forget(time.Now())
	return nil
}

// learn takes a record that may be anybody's: it can end a login, and be listed.
func (s *Store) learn(key string, data []byte) {
	kind, id, _ := strings.Cut(key, ".")
	var r Record
	if !CheckID(id) || len(data) > maxRecord || json.Unmarshal(data, &r) != nil || r.Format != wire.Format || r.ID != id {
		return
	}
	if end := time.Now().Add(MaxAge); r.Expires.After(end) { // of a clock that is ahead
		r.Expires = end
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case kind == kindEnded: // each has cost a login
		s.end(id)
	case kind == kindBegun && len(s.begun) < maxKnown:
		s.begun[id] = r
	}
}

// end keeps an end for as long as any login may last, whatever a record says. It is called under
// the lock.
func (s *Store) end(id string) {
	if _, known := s.ended[id]; !known {
		s.ended[id] = time.Now().Add(MaxAge)
	}
}

func (s *Store) forget(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.ended, func(_ string, end time.Time) bool { return end.Before(now.Add(-time.Minute)) })
	maps.DeleteFunc(s.begun, func(_ string, r Record) bool { return r.Expires.Before(now) })
}

// Ended reports whether a login was ended.
func (s *Store) Ended(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ended := s.ended[id]
	return ended
}

// List returns the logins that last, newest first, and how many more there are than most. Those
// by tokens that ended reports are none.
func (s *Store) List(ctx context.Context, ended func(token string) bool, most int) (list []Record, more int, err error) {
	if err := s.load(ctx); err != nil {
		return nil, 0, err
	}
	now := time.Now()
	s.mu.Lock()
	for id, r := range s.begun {
		if _, out := s.ended[id]; !out && !ended(r.Token) && now.Before(r.Expires) && r.Installation == s.installation {
			list = append(list, r)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(x, y Record) int { return cmp.Or(y.Created.Compare(x.Created), strings.Compare(x.ID, y.ID)) })
	n := min(most, len(list))
	return list[:n], len(list) - n, nil
}

// Begin adds a login to the list.
func (s *Store) Begin(ctx context.Context, login Session, who, from string) error {
	return s.put(ctx, kindBegun, Record{ID: login.ID, Who: who, Installation: login.Installation, Token: login.Token, From: from, Created: login.Created, Expires: login.Expires})
}

// End ends a login, here at once and everywhere within seconds. It returns what the list
// had of it, which may be nothing.
func (s *Store) End(ctx context.Context, id string) (Record, error) {
	s.mu.Lock()
	r := s.begun[id]
	if r.ID == "" || !r.Expires.After(time.Now()) {
		r = Record{ID: id, Expires: time.Now().Add(MaxAge).UTC().Truncate(time.Second)}
	}
	s.end(id)
	s.mu.Unlock()
	return r, s.put(ctx, kindEnded, r)
}

func (s *Store) put(ctx context.Context, kind string, r Record) error {
	r.Format = wire.Format
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	s.learn(kind+"."+r.ID, data)
	if _, err := s.js.Publish(ctx, wire.KVSubject(s.bucket, kind+"."+r.ID), data); err != nil {
		return fmt.Errorf("store session: %w", err)
	}
	return nil
}

// EndHere has a login end in this process, which somebody else ends everywhere.
func (s *Store) EndHere(login Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[login.ID] = login.Expires
}
