package connfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// failed returns the result of a call that failed. What the server said of it is shown.
func (c *connector) failed(ctx context.Context, err error) connectors.Result {
	e := classify(ctx, err)
	res := connectors.Failed(e.Class, e.Code, e.Err)
	var status *sftp.StatusError
	if ctx.Err() == nil && errors.As(err, &status) {
		res.Response = connectors.Clip(c.scrubber.Text(oneLine(status.Error())), connectors.MaxResponse)
	}
	return res
}

// classify says what the engine is to do about an error. Its text shows nothing that came
// from the other side but the fingerprint of a key.
func classify(ctx context.Context, err error) *connectors.Error {
	if ended := ctx.Err(); ended != nil {
		code := "canceled"
		if errors.Is(ended, context.DeadlineExceeded) {
			code = "timeout"
		}
		return verdict(connectors.Transient, code, "it was not done in time: %w", ended)
	}
	var own *connectors.Error
	var stranger *strangerError
	var login *loginError
	var algorithms *ssh.AlgorithmNegotiationError
	var status *sftp.StatusError
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &stranger):
		return verdict(connectors.Misconfigured, "host_key", "%w", stranger)
	case errors.As(err, &login):
		return verdict(connectors.Misconfigured, "login", "the server refuses the login of this user, or gives it no SFTP")
	case errors.As(err, &algorithms):
		return verdict(connectors.Misconfigured, "algorithms", "the server has no algorithm that we take, or no key of the type of host_keys")
	case errors.Is(err, errNoLinks):
		return verdict(connectors.Misconfigured, "no_links", "%w", errNoLinks)
	case errors.Is(err, errNoRename):
		return verdict(connectors.Misconfigured, "no_rename", "%w", errNoRename)
	case errors.Is(err, errTooLong):
		return verdict(connectors.Transient, "too_long", "%w", errTooLong)
	case errors.Is(err, errLost):
		return verdict(connectors.Transient, "closed", "%w", errLost)
	case errors.Is(err, fs.ErrPermission):
		return verdict(connectors.Misconfigured, "permission", "the directory may not be written to, or not be read")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return verdict(connectors.Misconfigured, "missing", "the directory is not there")
	case errors.Is(err, syscall.EROFS):
		return verdict(connectors.Misconfigured, "read_only", "the file system can only be read")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return verdict(connectors.Transient, "no_space", "there is no room left on the disk, or for this user")
	case errors.As(err, &status) && status.FxCode() == sftp.ErrSSHFxOpUnsupported:
		return verdict(connectors.Misconfigured, "unsupported", "the server cannot do a step that this layout needs")
	case errors.As(err, &status):
		return verdict(connectors.Transient, "sftp", "the server failed with the status %d of SFTP; a full disk is one cause", status.Code)
	}
	if isErrno(err) {
		return verdict(connectors.Transient, "file", "the file system fails")
	}
	d := connkit.Diagnose(err)
	return verdict(d.Class, d.Code, "%s", d.Text)
}

// isErrno reports whether the file system of this machine failed, and not a network.
func isErrno(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}
