package connfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/pkg/sftp"
)

// The extensions of OpenSSH that are used.
const (
	extLink   = "hardlink@openssh.com"
	extRename = "posix-rename@openssh.com"
	extSync   = "fsync@openssh.com"
)

// remote is a directory of an SFTP server.
type remote struct {
	pool *pool
	path string
}

func (r remote) begin(ctx context.Context) (files, error) {
	s, err := r.pool.get(ctx)
	if err != nil {
		return nil, err
	}
	return &remoteFiles{r, s}, nil
}

func (r remote) close() { r.pool.close() }

type remoteFiles struct {
	remote
	session *session
}

func (f *remoteFiles) end() { f.pool.put(f.session) }

func (f *remoteFiles) at(name string) string { return path.Join(f.path, name) }

func (f *remoteFiles) offers(extension string) bool {
	_, ok := f.session.files.HasExtension(extension)
	return ok
}

// step makes a step that gives nothing but an error.
func (f *remoteFiles) step(ctx context.Context, step func(c *sftp.Client) error) error {
	_, err := do(ctx, f.pool, f.session, func() (struct{}, error) { return struct{}{}, step(f.session.files) })
	return err
}

func (f *remoteFiles) list(ctx context.Context, dir string) ([]string, error) {
	return do(ctx, f.pool, f.session, func() ([]string, error) {
		bounded, end := f.session.meter.watch(ctx)
		defer end()
		entries, err := f.session.files.ReadDirContext(bounded, f.at(dir))
		if err != nil && bounded.Err() != nil && ctx.Err() == nil || len(entries) > mostListed {
			return nil, errTooLong
		}
		names := make([]string, len(entries))
		for i, e := range entries {
			names[i] = e.Name()
		}
		return names, err
	})
}

func (f *remoteFiles) read(ctx context.Context, name string) ([]byte, error) {
	return do(ctx, f.pool, f.session, func() ([]byte, error) {
		file, err := f.session.files.Open(f.at(name))
		if err != nil {
			return nil, err
		}
		data := make([]byte, mostTag+1)
		n, err := file.ReadAt(data, 0)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if n > mostTag {
			err = errTooLong
		}
		return data[:n], errors.Join(err, file.Close())
	})
}

func (f *remoteFiles) create(ctx context.Context, name string, data []byte) error {
	return f.step(ctx, func(c *sftp.Client) error {
		file, err := c.OpenFile(f.at(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err != nil {
			return err
		}
		if len(data) > 0 {
			_, err = file.Write(data)
		}
		if err == nil && ctx.Err() == nil && f.offers(extSync) {
			err = file.Sync()
		}
		return errors.Join(err, file.Close())
	})
}

func (f *remoteFiles) mark(ctx context.Context, name string) error {
	return f.step(ctx, func(c *sftp.Client) error {
		file, err := c.OpenFile(f.at(name), os.O_WRONLY|os.O_CREATE)
		if err != nil {
			return err
		}
		return file.Close()
	})
}

func (f *remoteFiles) link(ctx context.Context, name, other string) error {
	if !f.offers(extLink) {
		return errNoLinks
	}
	err := f.step(ctx, func(c *sftp.Client) error { return c.Link(f.at(name), f.at(other)) })
	return f.taken(ctx, other, err)
}

// taken finds out whether a step failed because a name is there: the protocol has no code
// for that.
func (f *remoteFiles) taken(ctx context.Context, name string, err error) error {
	var status *sftp.StatusError
	if !errors.As(err, &status) {
		return err
	}
	if there, _ := f.exists(ctx, name); there {
		return fmt.Errorf("%w: %w", fs.ErrExist, err)
	}
	return err
}

func (f *remoteFiles) replace(ctx context.Context, name, other string, apart bool) error {
	if f.offers(extRename) {
		return f.step(ctx, func(c *sftp.Client) error { return c.PosixRename(f.at(name), f.at(other)) })
	}
	if !apart {
		return errNoRename
	}
	rename := func(c *sftp.Client) error { return c.Rename(f.at(name), f.at(other)) }
	err := f.taken(ctx, other, f.step(ctx, rename))
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := gone(f.remove(ctx, other)); err != nil {
		return err
	}
	return f.step(ctx, rename)
}

func (f *remoteFiles) remove(ctx context.Context, name string) error {
	return f.step(ctx, func(c *sftp.Client) error { return c.Remove(f.at(name)) })
}

func (f *remoteFiles) exists(ctx context.Context, name string) (bool, error) {
	err := f.step(ctx, func(c *sftp.Client) error {
		_, err := c.Lstat(f.at(name))
		return err
	})
	return err == nil, gone(err)
}

func (f *remoteFiles) mkdir(ctx context.Context, dir string) error {
	err := f.step(ctx, func(c *sftp.Client) error { return c.Mkdir(f.at(dir)) })
	return f.taken(ctx, dir, err)
}

// sync asks for what OpenSSH can do where its system can: a directory that is opened like a
// file. No answer but a lost connection is a failure, since there is no other way.
func (f *remoteFiles) sync(ctx context.Context, dir string) error {
	if !f.offers(extSync) {
		return nil
	}
	err := f.step(ctx, func(c *sftp.Client) error {
		d, err := c.Open(f.at(dir))
		if err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	})
	if ctx.Err() == nil && !errors.Is(err, errLost) {
		return nil
	}
	return err
}

func (f *remoteFiles) there(ctx context.Context, layout string) error {
	if layout == versionsLayout && !f.offers(extLink) {
		return errNoLinks
	}
	if layout != dropLayout && !f.offers(extRename) {
		return errNoRename
	}
	return f.step(ctx, func(c *sftp.Client) error {
		info, err := c.Stat(f.at("."))
		if err == nil && !info.IsDir() {
			err = fs.ErrNotExist
		}
		return err
	})
}
