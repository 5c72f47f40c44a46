package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/events"
)

// importFormat is that of the file beside an input. Another one is no state: what was
// published is known by the broker, too.
const importFormat = 3

// importStateMost bounds the file beside an input, in bytes.
const importStateMost = 4096

// importState is the file beside an input. It holds for an input that begins with the
// very bytes that are done.
type importState struct {
	Format  int    `json:"f"`
	Channel string `json:"channel"`
	// Stream is the identity of the stream that has what was published, see
	// operate.Client.StreamIdentity.
	Stream string `json:"stream"`
	Offset int64  `json:"offset"`
	Line   int64  `json:"line"`
	// Done is the SHA-256 of the input up to Offset.
	Done string `json:"done_sha256"`
	// Rejected counts the lines up to there that were not published.
	Rejected int64 `json:"rejected"`
}

// An importInput is what is imported and where to begin.
type importInput struct {
	in         io.Reader
	close      func() error
	size       int64 // 0: not known
	from, line int64
	path       string // of the state; "" for none
	state      importState
	file       io.ReaderAt
	done       hash.Hash // of what is done
	hashed     int64     // bytes that are in it
	before     int64     // lines that were rejected before from
	anew       string    // why an earlier import of the input does not count; "" if none does
}

func openImport(sh *Shell, route events.Route, stream, name string, restart bool) (*importInput, error) {
	if name == "-" {
		return &importInput{in: sh.In, close: func() error { return nil }}, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	i := &importInput{in: file, close: file.Close, path: name + "." + routeInFiles(route) + ".state"}
	if err := i.resume(file, route.ID(), stream, restart); err != nil {
		return nil, errors.Join(fmt.Errorf("import: %w", err), file.Close())
	}
	return i, nil
}

// resume goes to where an earlier import of the same input has ended.
func (i *importInput) resume(file *os.File, channel, stream string, restart bool) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // it cannot be read twice
		i.path = ""
		return nil
	}
	i.size, i.file, i.done = info.Size(), file, sha256.New()
	old, err := readImportState(i.path)
	if err != nil {
		return err
	}
	if old.Offset > 0 && old.Channel == channel && !restart {
		same := old.Offset <= i.size
		if same {
			sum, err := i.sumUpTo(old.Offset)
			if err != nil {
				return err
			}
			same = sum == old.Done
		}
		switch {
		case !same:
			i.anew = fmt.Sprintf("it was changed in what an earlier import has done, up to line %d", old.Line)
		case old.Stream != stream:
			i.anew = fmt.Sprintf("an earlier import came to line %d, but to a stream that is not this one (%s, now %s)", old.Line, old.Stream, stream)
		default:
			i.from, i.line, i.state, i.before = old.Offset, old.Line, old, old.Rejected
			_, err := file.Seek(i.from, io.SeekStart)
			return err
		}
		i.done.Reset()
		i.hashed = 0
	}
	i.state = importState{Format: importFormat, Channel: channel, Stream: stream}
	return nil
}

// sumUpTo returns the SHA-256 of the input up to an offset, which never decreases.
func (i *importInput) sumUpTo(offset int64) (string, error) {
	n, err := io.Copy(i.done, io.NewSectionReader(i.file, i.hashed, offset-i.hashed))
	i.hashed += n
	return hex.EncodeToString(i.done.Sum(nil)), err
}

// readImportState returns what an earlier import left, the zero state if it is
// none that can be used: beginning anew does no harm.
func readImportState(path string) (importState, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return importState{}, nil
	}
	if err != nil {
		return importState{}, err
	}
	defer func() { _ = file.Close() }() // only read from
	data, err := io.ReadAll(io.LimitReader(file, importStateMost))
	if err != nil {
		return importState{}, err
	}
	return decodeImportState(data), nil
}

func decodeImportState(data []byte) importState {
	var s importState
	if json.Unmarshal(data, &s) != nil || s.Format != importFormat || s.Offset < 0 || s.Line < 0 || s.Rejected < 0 {
		return importState{}
	}
	return s
}

// save keeps how far all is done. The file is replaced as a whole: it is never
// half-written.
func (i *importInput) save(sum operate.ImportSummary) error {
	if i.path == "" {
		return nil
	}
	done, err := i.sumUpTo(sum.Offset)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	i.state.Offset, i.state.Line, i.state.Done, i.state.Rejected = sum.Offset, sum.Line, done, i.before+sum.Rejected
	data, err := json.Marshal(i.state)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	next := i.path + ".new"
	if err := os.WriteFile(next, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if err := os.Rename(next, i.path); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return nil
}

// routeInFiles returns the part of a file's name that says for which channel or topic it is.
func routeInFiles(r events.Route) string { return strings.ReplaceAll(r.ID(), "/", ".") }
