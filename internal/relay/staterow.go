package relay

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// row makes a row of what the database has given.
func (s *Source) row(values *[columns]any, size, limit int64) StateRow {
	one := row{size: size, op: string(events.Upsert)}
	var problems []error
	text := func(column int, into *string) {
		value, err := textOf(values[column])
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", columnNames()[column], err))
		}
		if value != "" {
			*into = value
		}
	}
	target := s.Target
	text(columnKey, &one.key)
	text(columnOp, &one.op)
	text(columnTarget, &target)
	text(columnContentType, &one.contentType)
	version, err := versionOf(values[columnVersion])
	if err == nil && version.Kind() != s.Query.versions {
		err = errors.New("it is a time (--relay-versions time)")
		if s.Query.versions == versioning.Timed {
			err = errors.New("it is a number (--relay-versions number)")
		}
	}
	if err != nil {
		problems = append(problems, fmt.Errorf("version: %w", err))
	}
	one.version = version.String()
	if values[columnBase] != nil {
		base, err := versionOf(values[columnBase])
		if err != nil {
			problems = append(problems, fmt.Errorf("base: %w", err))
		}
		one.base = base.String()
	}
	switch payload := values[columnPayload].(type) {
	case nil:
	case []byte:
		one.payload = payload
	case string:
		one.payload = []byte(payload)
	default:
		problems = append(problems, fmt.Errorf("payload: %T is neither text nor bytes; have the query convert it", payload))
	}
	if events.Op(one.op) == events.Delete { // the platform may keep what was deleted
		one.payload, one.size = nil, 0
	}
	out := StateRow{Target: target, Size: one.size}
	if problems == nil {
		out.Update, out.Bad = one.update(target, limit)
		if u := out.Update.WithDefaults(); out.Bad == nil {
			out.Bad = u.Validate() // a comparison publishes nothing that would find it
		}
	} else {
		out.Bad = fmt.Errorf("%w: %w", events.ErrInvalidUpdate, errors.Join(problems...))
	}
	if out.Bad != nil {
		out.Update = events.Update{Key: one.key, Version: version}
	}
	return out
}

// textOf returns what a column of names holds: a text, or a number.
func textOf(value any) (string, error) {
	switch v := value.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	default:
		return "", fmt.Errorf("%T is neither a text nor a whole number; have the query convert it", value)
	}
}

// versionOf returns the version that a column holds: a number, a time, or the text of one.
func versionOf(value any) (versioning.Version, error) {
	switch v := value.(type) {
	case nil:
		return versioning.Version{}, errors.New("it is NULL")
	case int64:
		return versioning.Number(v)
	case time.Time:
		if v.IsZero() { // MySQL's 0000-00-00
			return versioning.Version{}, errors.New("it is no time")
		}
		return versioning.Time(v)
	}
	text, err := textOf(value)
	if err != nil {
		return versioning.Version{}, err
	}
	text = strings.TrimSpace(text)
	version, err := versioning.Parse(text)
	if err == nil || len(text) > versioning.MaxTextLen {
		return version, err
	}
	// As databases write times. One without a zone is in UTC.
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05Z07", "2006-01-02T15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return versioning.Time(t)
		}
	}
	return version, err
}
