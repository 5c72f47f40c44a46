package connfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Why a code has its class.
const (
	whyDirectory = "somebody must act: the directory, or who may use it"
	whyLogin     = "somebody must act: the login, or what it may do"
	whyServer    = "somebody must act: the server, or the channel's layout"
	whyTrouble   = "the trouble passes"
	whyNever     = "never: the same content fails again"
)

// A meaning is what a kind of error stands for. Its text shows nothing that came from the
// other side.
type meaning struct {
	code  string
	class connectors.Class
	text  string
	why   string
	is    func(err error) bool
}

// meanings are tried in their order.
func meanings() []meaning {
	is := func(targets ...error) func(error) bool {
		return func(err error) bool {
			for _, t := range targets {
				if errors.Is(err, t) {
					return true
				}
			}
			return false
		}
	}
	const act, passes = connectors.Misconfigured, connectors.Transient
	return []meaning{
		{"host_key", act, "the server shows a key that is none of host_keys", whyServer, as[*strangerError]},
		{"login", act, "the server refuses the login of this user, or gives it no SFTP", whyLogin, as[*loginError]},
		{"algorithms", act, "the server has no algorithm that we take, or no key of the type of host_keys", whyServer, as[*ssh.AlgorithmNegotiationError]},
		{"no_links", act, errNoLinks.Error(), whyServer, is(errNoLinks)},
		{"no_rename", act, errNoRename.Error(), whyServer, is(errNoRename)},
		{"too_long", passes, errTooLong.Error(), whyTrouble, is(errTooLong)},
		{"closed", passes, errLost.Error(), whyTrouble, is(errLost)},
		{"permission", act, "the directory may not be written to, or not be read", whyDirectory, is(fs.ErrPermission)},
		{"missing", act, "the directory is not there", whyDirectory, is(fs.ErrNotExist, syscall.ENOTDIR)},
		{"read_only", act, "the file system can only be read", whyDirectory, is(syscall.EROFS)},
		{"no_space", passes, "there is no room left on the disk, or for this user", whyTrouble, is(syscall.ENOSPC, syscall.EDQUOT)},
		{"unsupported", act, "the server cannot do a step that this layout needs", whyServer, isUnsupported},
		{"sftp", passes, "the server failed and did not say why; a full disk is one cause", whyTrouble, as[*sftp.StatusError]},
		{"file", passes, "the file system fails", whyTrouble, isLocal},
	}
}

// as reports whether an error has one of this type in it.
func as[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func isUnsupported(err error) bool {
	var status *sftp.StatusError
	return errors.As(err, &status) && status.FxCode() == sftp.ErrSSHFxOpUnsupported
}

// isLocal reports whether the file system of this machine failed, and not a network.
func isLocal(err error) bool { return as[*fs.PathError](err) || as[*os.LinkError](err) }

// Codes says what the codes of these kinds mean. What is not listed is an error of the
// network, and transient.
func Codes() []connectors.Meaning {
	var out []connectors.Meaning
	for _, m := range meanings() {
		out = append(out, connectors.Meaning{Code: m.code, Class: m.class, What: m.text, Why: m.why})
	}
	return append(out, connectors.Meaning{Code: codePayload, Class: connectors.Permanent, What: errNoHeader.Error(), Why: whyNever})
}

// classify says what the engine is to do about an error. Its text shows nothing that came
// from the other side but the fingerprint of a key.
func classify(ctx context.Context, err error) *connectors.Error {
	if ended := ctx.Err(); ended != nil {
		code := "canceled"
		if errors.Is(ended, context.DeadlineExceeded) {
			code = "timeout"
		}
		return &connectors.Error{Class: connectors.Transient, Code: code, Err: fmt.Errorf("it was not done in time: %w", ended)}
	}
	var own *connectors.Error
	if errors.As(err, &own) {
		return own
	}
	for _, m := range meanings() {
		if !m.is(err) {
			continue
		}
		var stranger *strangerError
		if errors.As(err, &stranger) {
			return &connectors.Error{Class: m.class, Code: m.code, Err: stranger}
		}
		return &connectors.Error{Class: m.class, Code: m.code, Err: errors.New(m.text)}
	}
	d := connkit.Diagnose(err)
	return &connectors.Error{Class: d.Class, Code: d.Code, Err: errors.New(d.Text)}
}

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
