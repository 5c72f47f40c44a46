package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
)

// reportAside bounds the rows that a report lists.
const reportAside = 100

// A Report says how an outbox stands, for people.
type Report struct {
	Targets []TargetReport `json:"targets"`
	// Aside are rows that were set aside, the oldest first, at most 100.
	Aside []AsideRow `json:"set_aside"`
}

// A TargetReport says how it stands for one target.
type TargetReport struct {
	Target  string `json:"target"`
	Waiting int64  `json:"waiting"`
	// OldestSeconds is how old the oldest row is that waits; 0 if none does.
	OldestSeconds float64 `json:"oldest_seconds"`
	Aside         int64   `json:"set_aside"`
	// Why says what keeps the rows; "" if nothing is known to.
	Why string `json:"why,omitempty"`
}

// An AsideRow is a row that was set aside.
type AsideRow struct {
	ID      int64  `json:"id"`
	Target  string `json:"target"`
	Key     string `json:"key"`
	Version string `json:"version"`
	Note    string `json:"note"`
}

// Report says how the outbox stands. It counts every row.
func (d *Database) Report(ctx context.Context) (Report, error) {
	out := Report{Targets: []TargetReport{}, Aside: []AsideRow{}}
	standings, err := d.Standings(ctx)
	if err != nil {
		return out, err
	}
	counts := map[string]int64{}
	err = d.each(ctx, "SELECT target, count(*) FROM extsync_outbox WHERE noted_at IS NULL GROUP BY target", func(scan func(...any) error) error {
		var target string
		var n int64
		err := scan(&target, &n)
		counts[target] = n
		return err
	})
	if err != nil {
		return out, fmt.Errorf("count rows: %w", err)
	}
	for _, target := range slices.Sorted(maps.Keys(standings)) {
		s := standings[target]
		out.Targets = append(out.Targets, TargetReport{
			Target: target, Waiting: counts[target], OldestSeconds: s.Age.Round(time.Millisecond).Seconds(), Aside: s.Aside,
		})
	}
	err = d.each(ctx, speechOf(d.Dialect).listAside(reportAside), func(scan func(...any) error) error {
		var row AsideRow
		err := scan(&row.ID, &row.Target, &row.Key, &row.Version, &row.Note)
		out.Aside = append(out.Aside, row)
		return err
	})
	if err != nil {
		return out, fmt.Errorf("list what was set aside: %w", err)
	}
	return out, nil
}

// each hands every row of a query to use.
func (d *Database) each(ctx context.Context, text string, use func(scan func(...any) error) error) (err error) {
	rows, err := d.QueryContext(ctx, text)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := use(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// RouteOf returns where the rows of a target go.
func RouteOf(target string) (events.Route, error) {
	if topic, ok := cutTopic(target); ok {
		return events.ToTopic(topic), events.CheckTopic(topic)
	}
	return events.ToChannel(target), events.CheckChannel(target)
}
