package connfile

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Modes of what is made, less the process's umask.
const (
	fileMode = 0o640
	dirMode  = 0o750
)

// local is a directory of this machine.
type local struct{ path string }

// begin opens the directory anew for each call, as another one may be mounted there. No
// link below it leads out.
func (l local) begin(ctx context.Context) (files, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(l.path)
	if err != nil {
		return nil, err
	}
	return localFiles{root}, nil
}

func (local) close() {}

type localFiles struct{ root *os.Root }

func (f localFiles) end() { _ = f.root.Close() } // it was read from

func (f localFiles) list(ctx context.Context, dir string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d, err := f.root.Open(dir)
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(mostListed + 1)
	if errors.Is(err, io.EOF) {
		err = nil // it is empty
	}
	if len(names) > mostListed {
		err = errTooLong
	}
	return names, errors.Join(err, d.Close())
}

func (f localFiles) read(ctx context.Context, name string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, mostTag+1))
	if len(data) > mostTag {
		err = errTooLong
	}
	return data, errors.Join(err, file.Close())
}

func (f localFiles) create(ctx context.Context, name string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func (f localFiles) mark(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE, fileMode)
	if err != nil {
		return err
	}
	return file.Close()
}

func (f localFiles) link(ctx context.Context, name, other string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := f.root.Link(name, other)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EMLINK) {
		return errors.Join(errNoLinks, err)
	}
	return err
}

func (f localFiles) replace(ctx context.Context, name, other string, _ bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.root.Rename(name, other)
}

func (f localFiles) remove(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.root.Remove(name)
}

func (f localFiles) exists(ctx context.Context, name string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	_, err := f.root.Lstat(name)
	return err == nil, gone(err)
}

func (f localFiles) mkdir(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return f.root.Mkdir(dir, dirMode)
}

func (f localFiles) sync(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, fs.ErrPermission) {
		err = nil // the file system, or Windows, does not do that for directories
	}
	return errors.Join(err, d.Close())
}

func (f localFiles) there(ctx context.Context, _ string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := fs.Stat(f.root.FS(), ".")
	return err
}
