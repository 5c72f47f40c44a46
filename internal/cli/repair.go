package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hms-utl/extsync/internal/auditlog"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
)

// repaired says what became of keys that were delivered again.
type repaired struct {
	Delivered uint64 `json:"repaired,omitempty"`
	Skipped   uint64 `json:"repair_skipped,omitempty"` // a newer version is on its way
	Failed    uint64 `json:"repair_failed,omitempty"`
}

// repairLook is how often a part of a repair is looked at.
const repairLook = 100 * time.Millisecond

// repair has the workers deliver keys again, as many together as a resync takes,
// with one record in the audit log.
func repair(ctx context.Context, sh *Shell, client *operate.Client, r *channels.Registry, channel string, keys *keyFile, total int64) (done repaired, err error) {
	bar := sh.progress("keys repaired", total)
	defer bar.end()
	act := auditlog.Act{Action: "audit.repair", Target: "channel " + channel, After: map[string]int64{"keys": total}}
	err = client.Act(ctx, act, func(ctx context.Context) (any, error) {
		err := keys.each(channels.MaxResyncKeys, func(part []string) error {
			if _, err := r.StartResync(ctx, channel, channels.Selection{Keys: part}); err != nil {
				return err
			}
			status, err := awaitResync(ctx, r, channel)
			if err != nil {
				return err
			}
			done.Delivered += status.Delivered
			done.Skipped += status.Skipped
			done.Failed += status.Failed
			bar.set(int64(done.Delivered + done.Skipped + done.Failed)) //nolint:gosec // fewer than there are keys
			if status.State != channels.ResyncDone {
				return fmt.Errorf("%w: the repair was %s by somebody", errSomeFailed, status.State)
			}
			return nil
		})
		return done, err
	})
	return done, err
}

func awaitResync(ctx context.Context, r *channels.Registry, channel string) (channels.ResyncStatus, error) {
	tick := time.NewTicker(repairLook)
	defer tick.Stop()
	for {
		status, err := r.ResyncStatus(ctx, channel)
		if err != nil || status.State != channels.ResyncRunning {
			return status, err
		}
		select {
		case <-ctx.Done():
			return status, errors.Join(errUndelivered, ctx.Err())
		case <-tick.C:
		}
	}
}

// A keyFile remembers keys on the disk: there may be more than fit into memory.
// The zero keyFile is empty.
type keyFile struct {
	file *os.File
	out  *bufio.Writer
}

func (k *keyFile) add(key string) error {
	if k.file == nil {
		file, err := os.CreateTemp("", "extsync-repair-*")
		if err != nil {
			return fmt.Errorf("remember what to repair: %w", err)
		}
		k.file, k.out = file, bufio.NewWriter(file)
	}
	data, err := json.Marshal(key)
	if err == nil {
		_, err = k.out.Write(append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("remember what to repair: %w", err)
	}
	return nil
}

// each gives the keys in parts of at most so many. Nothing can be added then.
func (k *keyFile) each(most int, do func([]string) error) error {
	if k.file == nil {
		return nil
	}
	err := k.out.Flush()
	if err == nil {
		_, err = k.file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return fmt.Errorf("remember what to repair: %w", err)
	}
	in := json.NewDecoder(bufio.NewReader(k.file))
	part := make([]string, 0, most)
	for in.More() {
		var key string
		if err := in.Decode(&key); err != nil {
			return fmt.Errorf("remember what to repair: %w", err)
		}
		if part = append(part, key); len(part) == most {
			if err := do(part); err != nil {
				return err
			}
			part = part[:0]
		}
	}
	if len(part) == 0 {
		return nil
	}
	return do(part)
}

// close removes the file.
func (k *keyFile) close() error {
	if k.file == nil {
		return nil
	}
	return errors.Join(k.file.Close(), os.Remove(k.file.Name()))
}
