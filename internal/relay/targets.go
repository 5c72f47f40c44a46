package relay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
)

// targets gives every target that has rows.
func targets(ctx context.Context, db *sql.DB, text speech) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		next, args := text.firstTarget(), []any(nil)
		for {
			target, err := oneTarget(ctx, db, next, args...)
			if errors.Is(err, sql.ErrNoRows) {
				return
			}
			if err != nil {
				yield("", fmt.Errorf("look for targets: %w", err))
				return
			}
			if !yield(target, nil) {
				return
			}
			next, args = text.nextTarget(), []any{target}
		}
	}
}

func oneTarget(ctx context.Context, db *sql.DB, query string, args ...any) (target string, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	err = db.QueryRowContext(ctx, query, args...).Scan(&target)
	return target, err
}
