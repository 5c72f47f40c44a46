//go:build unix

package natsserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// A dirLock keeps a second server out of a storage directory: the server itself
// does not look, and two of them would write into the same files. The operating
// system drops the lock when the process ends, however it ends.
type dirLock struct {
	file *os.File
	once sync.Once
}

func lockDir(dir string) (*dirLock, error) {
	path := filepath.Join(dir, "extsync.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	switch {
	case err == nil:
		return &dirLock{file: f}, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = fmt.Errorf("%w: another process holds %s; stop it or choose another directory", ErrInUse, path)
	default:
		err = fmt.Errorf("%w: lock %s: %w", ErrStart, path, err)
	}
	return nil, errors.Join(err, f.Close())
}

// release gives the directory back. The file stays: removing it could take it
// from under the next one who locks it.
func (l *dirLock) release() (err error) {
	l.once.Do(func() {
		// To close it is not enough: a child that is being started has the file, too, until it
		// becomes another program.
		err = errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
	})
	return err
}
