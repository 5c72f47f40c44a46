package cli

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/hms-utl/extsync/internal/operate"
)

// A rejectFile takes what cannot be published. It is made with the first line.
type rejectFile struct {
	name string
	keep bool // what an earlier part of the import has written
	file *os.File
}

func (r *rejectFile) write(reject operate.ImportReject) error {
	if r.file == nil {
		flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
		if !r.keep {
			flags |= os.O_TRUNC
		}
		var err error
		if r.file, err = os.OpenFile(r.name, flags, 0o600); err != nil {
			return fmt.Errorf("rejects: %w", err)
		}
	}
	data, err := json.Marshal(reject)
	if err != nil {
		return fmt.Errorf("rejects: %w", err)
	}
	if _, err := r.file.Write(append(data, '\n')); err != nil {
		return fmt.Errorf("rejects: %w", err)
	}
	return nil
}

func (r *rejectFile) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}

// notTheSame refuses to write rejects over what the import itself needs.
func notTheSame(rejects string, others ...string) error {
	info, err := os.Stat(rejects)
	if err != nil {
		return nil //nolint:nilerr // it is not there, or writing to it says what is wrong
	}
	for _, other := range others {
		if there, err := os.Stat(other); err == nil && os.SameFile(info, there) {
			return fmt.Errorf("%w: --rejects: %s is the input, or what is kept of how far it is done; name another file", errUsage, rejects)
		}
	}
	return nil
}
