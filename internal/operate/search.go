package operate

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/why"
)

const (
	// searchTime bounds a search, which is made while somebody types.
	searchTime = time.Second
	// namesFor is for how long the names of channels and topics are good enough.
	namesFor = 30 * time.Second
	// searchNames and searchKeys bound what a search finds.
	searchNames = 10
	searchKeys  = 20
)

// Hits are what a search has found.
type Hits struct {
	Key      *KeyHit     `json:"key" doc:"The key that is exactly so; null: there is none"`
	Channels []string    `json:"channels" doc:"Whose name has it, at most 10"`
	Topics   []string    `json:"topics" doc:"Whose name has it, at most 10"`
	Targets  []TargetHit `json:"targets" doc:"Whose address has it, at most 10"`
	Prefix   PrefixHits  `json:"prefix" doc:"Keys that begin so"`
	Partial  bool        `json:"partial" doc:"The time was over before all was looked at"`
}

// A KeyHit is a key that was found, and how it stands where it is.
type KeyHit struct {
	Key      string      `json:"key"`
	Topics   []string    `json:"topics" doc:"That hold it"`
	Channels []EntityHit `json:"channels" doc:"That know it"`

	_ struct{} `nullable:"true"`
}

// An EntityHit is how a key stands in a channel.
type EntityHit struct {
	Channel string     `json:"channel"`
	Key     string     `json:"key"`
	Sync    why.Sync   `json:"sync"`
	Health  why.Health `json:"health"`
}

// A TargetHit is a channel with the address of its target.
type TargetHit struct {
	Channel string `json:"channel"`
	Target  string `json:"target"`
}

// PrefixHits are keys that begin as it was asked for, as far as was looked.
type PrefixHits struct {
	Entities []EntityHit `json:"entities" doc:"At most 20"`
	Looked   int         `json:"looked" doc:"Records that were looked at"`
	Of       uint64      `json:"of" doc:"Records that there are at most, in the channels that were looked at"`
	More     bool        `json:"more" doc:"There may be more: list entities by the prefix"`
}

// Search looks for a text in the names of channels, topics and targets, for the key that is exactly
// so, and for keys that begin so, of all channels and topics that are let through. It takes a second
// at most, and looks at few records.
func (b *Board) Search(ctx context.Context, text string, allows, allowsTopic func(name string) bool) (Hits, error) {
	out := Hits{Channels: []string{}, Topics: []string{}, Targets: []TargetHit{}, Prefix: PrefixHits{Entities: []EntityHit{}}}
	s, err := b.names(ctx)
	if err != nil {
		return out, err
	}
	s.names(strings.ToLower(text), allows, allowsTopic, &out)
	if _, err := events.EncodeKey(text); err != nil {
		return out, nil //nolint:nilerr // no key is so
	}
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	// The exact key and the keys that begin so are looked for side by side.
	listed := make(chan error, 1)
	var page ListPage
	go func() {
		var err error
		page, err = b.client.List(ctx, ListQuery{Allows: allows, Prefix: text, Limit: searchKeys})
		listed <- err
	}()
	found, err := b.client.Look(ctx, Lookup{Key: text, Allows: allows, AllowsTopic: allowsTopic})
	lerr := <-listed
	overtime := func(err error) bool { return err != nil && ctx.Err() != nil && whole.Err() == nil }
	out.Partial = overtime(err) || overtime(lerr)
	switch {
	case err == nil:
		out.Key = keyHit(&found)
	case !overtime(err) && !errors.Is(err, ErrUnknownKey):
		return out, err
	}
	if lerr != nil && !overtime(lerr) {
		return out, lerr
	}
	for i := range page.Entities {
		w := &page.Entities[i]
		out.Prefix.Entities = append(out.Prefix.Entities, EntityHit{w.Channel, w.Key, w.Sync, w.Health})
	}
	out.Prefix.Looked, out.Prefix.Of, out.Prefix.More = page.Looked, page.Of, page.Next != "" || lerr != nil
	return out, nil
}

// names returns a snapshot that is new enough for what channels and topics there are.
func (b *Board) names(ctx context.Context) (*Snapshot, error) {
	b.mu.Lock()
	last := b.last
	b.mu.Unlock()
	if last != nil && time.Since(last.At) < namesFor {
		return last, nil
	}
	return b.Look(ctx)
}

// names adds the channels, topics and targets whose names have a text.
func (s *Snapshot) names(text string, allows, allowsTopic func(name string) bool, out *Hits) {
	for i := range s.spots {
		row := &s.spots[i].row
		if !allows(row.Channel) {
			continue
		}
		if len(out.Channels) < searchNames && strings.Contains(row.Channel, text) {
			out.Channels = append(out.Channels, row.Channel)
		}
		if len(out.Targets) < searchNames && strings.Contains(strings.ToLower(row.Target), text) {
			out.Targets = append(out.Targets, TargetHit{row.Channel, row.Target})
		}
	}
	for i := range s.topics {
		if name := s.topics[i].Topic; len(out.Topics) < searchNames && allowsTopic(name) && strings.Contains(name, text) {
			out.Topics = append(out.Topics, name)
		}
	}
}

func keyHit(found *Found) *KeyHit {
	out := &KeyHit{Key: found.Key, Topics: []string{}, Channels: []EntityHit{}}
	for i := range found.Topics {
		out.Topics = append(out.Topics, found.Topics[i].Topic)
	}
	for i := range found.Channels {
		if w := &found.Channels[i]; w.State != StateAbsent {
			out.Channels = append(out.Channels, EntityHit{w.Channel, w.Key, w.Sync, w.Health})
		}
	}
	return out
}
