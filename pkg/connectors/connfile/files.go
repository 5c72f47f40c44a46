package connfile

import (
	"context"
	"errors"
	"io/fs"
)

// A store gives access to one directory. It is safe for concurrent use.
type store interface {
	// begin returns the files for one call, which ends them.
	begin(ctx context.Context) (files, error)
	close()
}

// files are those below one directory, as far as the layouts need them, for one goroutine.
// Names are relative, with a slash between. Errors are, where it is known, fs.ErrNotExist,
// fs.ErrExist and fs.ErrPermission. A method does nothing once ctx has ended.
type files interface {
	// list returns the names in a directory, in any order.
	list(ctx context.Context, dir string) ([]string, error)
	// read returns a file of up to mostTag bytes.
	read(ctx context.Context, name string) ([]byte, error)
	// create makes a file that must not be there yet, and waits until it is on the disk,
	// where the other side can say so.
	create(ctx context.Context, name string, data []byte) error
	// mark makes an empty file, or leaves one that is there.
	mark(ctx context.Context, name string) error
	// link gives a file another name, at once, which must not be taken.
	link(ctx context.Context, name, other string) error
	// replace gives a file another name, at once, in the place of what has it. With apart,
	// a file that is there may be gone for a moment.
	replace(ctx context.Context, name, other string, apart bool) error
	remove(ctx context.Context, name string) error
	exists(ctx context.Context, name string) (bool, error)
	mkdir(ctx context.Context, dir string) error
	// sync waits until the names in a directory are on the disk, where the other side can
	// say so.
	sync(ctx context.Context, dir string) error
	// there returns an error unless the directory itself is there, and fits the layout.
	there(ctx context.Context, layout string) error
	end()
}

// Bounds of what is read.
const (
	// mostTag bounds a tag: a key of 1024 bytes may take six times as much in JSON.
	mostTag = 16 << 10
	// mostListed bounds the names in the directory of a key: those of a few versions, and
	// what writers that were killed have left.
	mostListed = 100_000
)

var (
	errTooLong  = errors.New("there is more of it than a writer of ours can have left")
	errNoLinks  = errors.New("there are no hard links, which the layout versions needs; take the layout current")
	errNoRename = errors.New("the server does not replace files (posix-rename@openssh.com), which this layout needs; take the layout drop")
)

// put brings data under a name where it is whole at once, in the place of what is there.
func put(ctx context.Context, f files, name string, data []byte, apart bool) error {
	temp := tempName(name)
	err := f.create(ctx, temp, data)
	if err == nil {
		err = f.replace(ctx, temp, name, apart)
	}
	if err != nil {
		_ = f.remove(ctx, temp) // what stays has a name that says what it is
	}
	return err
}

// gone takes it for done that a file which is to be removed is not there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
