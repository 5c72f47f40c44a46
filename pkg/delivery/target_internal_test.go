package delivery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// openConn is a connector that tells what it was opened with and when it is closed.
type openConn struct {
	secret string
	closed chan struct{}
}

func (c *openConn) MaxBatch() int { return 1 }

func (c *openConn) Apply(context.Context, []connectors.Attempt) []connectors.Result { return nil }

func (c *openConn) Close(context.Context) error {
	close(c.closed)
	return nil
}

// mounted writes a secret as Kubernetes does: in a directory of its own, to which a
// link is put in the place of the one before.
func mounted(t *testing.T, dir, revision, secret string) {
	t.Helper()
	testkit.Must(t, os.Mkdir(filepath.Join(dir, revision), 0o700))
	testkit.Must(t, os.WriteFile(filepath.Join(dir, revision, "token"), []byte(secret), 0o600))
	testkit.Must(t, os.Symlink(revision, filepath.Join(dir, "..tmp")))
	testkit.Must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
}

func TestConnectorIsOpenedAnewWhenAFileChanges(t *testing.T) {
	dir := t.TempDir()
	mounted(t, dir, "..1", "one")
	testkit.Must(t, os.Symlink("..data/token", filepath.Join(dir, "token")))
	ref := connectors.Ref(fmt.Sprintf("${file:%s}", filepath.Join(dir, "token")))
	fails := false
	resolve := func(ref connectors.Ref) (string, error) {
		return connectors.Host{Allow: connectors.Allow{Grant: connectors.Grant{Files: connectors.List{dir}}}}.Env("c").Resolve(ref)
	}
	target, err := newTarget(t.Context(), resolve, fmt.Appendf(nil, `{"auth": {"list": [%q, "${env:X}"]}}`, ref),
		func(context.Context) (connectors.Sender, error) {
			if fails {
				return nil, errors.New("the key does not belong to the certificate")
			}
			secret, err := resolve(ref)
			return &openConn{secret, make(chan struct{})}, err
		})
	testkit.Must(t, err)
	renew := func(want bool, wantErr bool) {
		t.Helper()
		if changed, err := target.renewIfChanged(t.Context()); changed != want || (err != nil) != wantErr {
			t.Fatalf("changed %v, %v", changed, err)
		}
	}
	holds := func(want string) (conn *openConn) {
		t.Helper()
		target.use(func(c connectors.Sender) { conn = c.(*openConn) }) //nolint:forcetypeassert // the only kind here
		if conn.secret != want {
			t.Fatalf("the connector has %q, not %q", conn.secret, want)
		}
		return conn
	}
	renew(false, false)
	first := holds("one")

	mounted(t, dir, "..2", "two")
	target.use(func(connectors.Sender) { // a call in flight
		renew(true, false)
		holds("two")
		select {
		case <-first.closed:
			t.Fatal("the old connector was closed under a call")
		default:
		}
	})
	<-first.closed
	renew(false, false)

	// Half of a change, or a failure of a moment: what is open stays, and it is tried again.
	fails = true
	mounted(t, dir, "..3", "three")
	renew(true, true)
	holds("two")
	fails = false
	renew(true, false)
	holds("three")
	renew(false, false)
	mounted(t, dir, "..4", "four")
	renew(true, false)
	last := holds("four")

	testkit.Must(t, target.close(t.Context()))
	<-last.closed
	if target.use(func(connectors.Sender) {}) {
		t.Error("a call after the end")
	}
	testkit.Must(t, target.renew(t.Context())) // and nothing is left open
}

// A connector that is opened while the run ends must not stay open.
func TestTargetIsClosedWhileItIsOpenedAnew(t *testing.T) {
	var conns []*openConn
	opening, closed := make(chan struct{}, 1), make(chan struct{})
	target, err := newTarget(t.Context(), nil, nil, func(context.Context) (connectors.Sender, error) {
		if len(conns) > 0 {
			opening <- struct{}{}
			<-closed
		}
		conns = append(conns, &openConn{closed: make(chan struct{})})
		return conns[len(conns)-1], nil
	})
	testkit.Must(t, err)
	done := make(chan error, 1)
	go func() { done <- target.renew(t.Context()) }()
	<-opening
	testkit.Must(t, target.close(t.Context()))
	close(closed)
	testkit.Must(t, <-done)
	for _, c := range conns {
		select {
		case <-c.closed:
		case <-time.After(testkit.Patience):
			t.Fatal("a connector stays open")
		}
	}
}
