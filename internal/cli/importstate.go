package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/hms-utl/extsync/internal/app"
)

// importFormat is that of the file beside an input. Another one is no state: what was
// published is known by the broker, too.
const importFormat = 2

// importHead is how much of an input tells it from another one, in bytes.
const importHead = 4096

// importState is the file beside an input. It holds for an input that begins with
// the same bytes, and was not changed but for what was added behind them.
type importState struct {
	Format  int    `json:"f"`
	Channel string `json:"channel"`
	// Stream is the identity of the stream that has what was published, see
	// app.Client.StreamIdentity.
	Stream  string `json:"stream"`
	HeadLen int    `json:"head_len"`
	Head    string `json:"head_sha256"`
	Size    int64  `json:"size"`
	Changed int64  `json:"changed"` // the input, in nanoseconds since 1970
	Offset  int64  `json:"offset"`
	Line    int64  `json:"line"`
}

// An importInput is what is imported and where to begin.
type importInput struct {
	in         io.Reader
	close      func() error
	size       int64 // 0: not known
	from, line int64
	path       string // of the state; "" for none
	state      importState
	anew       string // why an earlier import of the input does not count; "" if none does
}

func openImport(sh *Shell, channel, stream, name string, restart bool) (*importInput, error) {
	if name == "-" {
		return &importInput{in: sh.In, close: func() error { return nil }}, nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	i := &importInput{in: file, close: file.Close, path: name + "." + channel + ".state"}
	if err := i.resume(file, channel, stream, restart); err != nil {
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
	i.size = info.Size()
	old, err := readImportState(i.path)
	if err != nil {
		return err
	}
	changed := info.ModTime().UnixNano()
	known := old.HeadLen > 0 && int64(old.HeadLen) <= i.size && old.Offset <= i.size && (i.size > old.Size || changed == old.Changed)
	if known && !restart {
		head, err := headSum(file, old.HeadLen)
		if err != nil {
			return err
		}
		if head == old.Head && old.Channel == channel && old.Stream != stream {
			i.anew = fmt.Sprintf("an earlier import came to line %d, but to a stream that is not this one (%s, now %s)", old.Line, old.Stream, stream)
		} else if head == old.Head && old.Channel == channel {
			i.from, i.line, i.state = old.Offset, old.Line, old
			i.state.Size, i.state.Changed = i.size, changed
			_, err := file.Seek(i.from, io.SeekStart)
			return err
		}
	}
	size := int(min(i.size, importHead))
	head, err := headSum(file, size)
	i.state = importState{Format: importFormat, Channel: channel, Stream: stream, HeadLen: size, Head: head, Size: i.size, Changed: changed}
	return err
}

func headSum(file io.ReaderAt, size int) (string, error) {
	head := make([]byte, size)
	if _, err := file.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	sum := sha256.Sum256(head)
	return hex.EncodeToString(sum[:]), nil
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
	data, err := io.ReadAll(io.LimitReader(file, importHead))
	if err != nil {
		return importState{}, err
	}
	return decodeImportState(data), nil
}

func decodeImportState(data []byte) importState {
	var s importState
	if json.Unmarshal(data, &s) != nil || s.Format != importFormat || s.Offset < 0 || s.Line < 0 || s.HeadLen < 0 || s.HeadLen > importHead {
		return importState{}
	}
	return s
}

// save keeps how far all is done. The file is replaced as a whole: it is never
// half-written.
func (i *importInput) save(sum app.ImportSummary) error {
	if i.path == "" {
		return nil
	}
	i.state.Offset, i.state.Line = sum.Offset, sum.Line
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
