//go:build !unix

package natsserver

// A dirLock keeps a second server out of a storage directory where the system
// has advisory locks. Here it does nothing: who runs two embedded brokers must
// give them two directories.
type dirLock struct{}

func lockDir(string) (*dirLock, error) { return &dirLock{}, nil }

func (*dirLock) release() error { return nil }
