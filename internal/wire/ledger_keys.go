package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/pkg/events"
)

// ErrTooManyKeys says that a stream has more keys than asked for.
var ErrTooManyKeys = errors.New("there are more keys")

// LedgerKeys calls each with the encoded keys that have a record in the ledger whose
// subject matches a filter, such as that of PartitionRecords, a
// page of up to 100,000 at a time, as the ledger's leader knows them. Keys that
// get a record meanwhile may be left out, no others; one may come twice. It fails
// with ErrTooManyKeys above most: the server sorts all of them for each page.
func LedgerKeys(ctx context.Context, js jetstream.JetStream, names events.Names, filter string, most int, each func(key string)) error {
	return eachKey(ctx, js, KVStream(LedgerBucket(names)), filter, most, each)
}

// LetterKeys calls each with the encoded keys that have dead letters, as LedgerKeys does.
func LetterKeys(ctx context.Context, js jetstream.JetStream, names events.Names, filter string, most int, each func(key string)) error {
	return eachKey(ctx, js, DeadStream(names), filter, most, each)
}

// eachKey calls each with the last tokens of a stream's subjects.
func eachKey(ctx context.Context, js jetstream.JetStream, stream, filter string, most int, each func(key string)) error {
	for offset, total := 0, 1; offset < total; {
		page, err := readSubjects(ctx, js, stream, filter, offset)
		if err != nil {
			return fmt.Errorf("list the keys in stream %s: %w", stream, MarkUnavailable(err))
		}
		if total = page.Total; total > most {
			return fmt.Errorf("%w: %d", ErrTooManyKeys, total)
		}
		if len(page.State.Subjects) == 0 {
			return nil
		}
		offset += len(page.State.Subjects)
		for subject := range page.State.Subjects {
			each(KeyOfSubject(subject))
		}
	}
	return nil
}

// subjectsPage is the part that is used of the answer to $JS.API.STREAM.INFO.
type subjectsPage struct {
	Total int                 `json:"total"`
	Error *jetstream.APIError `json:"error"`
	State struct {
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
}

// readSubjects reads a page of a stream's subjects: the client's own call would
// hold all pages in memory at once.
func readSubjects(ctx context.Context, js jetstream.JetStream, stream, filter string, offset int) (subjectsPage, error) {
	var page subjectsPage
	request, err := json.Marshal(map[string]any{"subjects_filter": filter, "offset": offset})
	if err != nil {
		return page, err
	}
	ctx, cancel := WithDefaultTimeout(ctx)
	defer cancel()
	msg, err := js.Conn().RequestWithContext(ctx, apiPrefix(js.Options())+"STREAM.INFO."+stream, request)
	if err != nil {
		return page, err
	}
	if err := json.Unmarshal(msg.Data, &page); err != nil {
		return page, err
	}
	if page.Error != nil {
		return page, page.Error
	}
	return page, nil
}
