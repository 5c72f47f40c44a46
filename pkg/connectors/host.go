package connectors

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A Host is the process that connectors are opened in, as far as they may use it. The
// zero Host lets them reach public networks and nothing else.
type Host struct {
	// Allow is what the operator lets channels use.
	Allow Allow
	// Own are files of the process itself, such as its key at the broker. They are
	// never a secret of a channel, wherever they lie.
	Own []string
	// LookupEnv and Resolver replace the environment and the resolver of names in
	// tests and in programs that have others. nil: the system's.
	LookupEnv func(name string) (string, bool)
	Resolver  *net.Resolver
}

// Validate checks what Allow says. The error wraps ErrConfig and names everything.
func (h Host) Validate() error {
	var p Problems
	h.Allow.Check(p.Add)
	return p.Err()
}

// Env returns what a channel's connector is opened with.
func (h Host) Env(channel string) Env {
	return Env{Channel: channel, host: h, grant: h.Allow.For(channel), scrubber: new(Scrubber)}
}

// Env is what a connector is opened with besides its configuration, and the only way
// for it to secrets, networks and files: what the operator does not allow the channel
// is refused here, with words that name the setting. The zero Env allows nothing but
// public networks.
type Env struct {
	Channel string
	// Concurrency is how many calls of Apply run at once at most: size pools to
	// it.
	Concurrency int
	// Timeout bounds one call of Apply; its ctx ends then.
	Timeout time.Duration
	// Log takes a line for people that Note was given. nil: nobody reads it.
	Log func(line string)

	host     Host
	grant    Grant
	scrubber *Scrubber
	standIn  string
}

// ForPreview returns an environment in which every reference is this text and nothing
// is refused, because nothing can be reached: no secret is read and no connection made.
func (e Env) ForPreview(standIn string) Env {
	e.standIn, e.scrubber = standIn, new(Scrubber)
	return e
}

// Previews reports whether the environment is one of ForPreview: secrets have no form.
func (e Env) Previews() bool { return e.standIn != "" }

// Scrubber returns what knows the values of the secrets that were resolved here.
func (e Env) Scrubber() *Scrubber { return e.scrubber }

// Note passes a line for people on to Log, without secrets: what a program says that the
// connector started. It is no way to report a failure, and never for a payload.
func (e Env) Note(line string) {
	if e.Log != nil {
		e.Log(e.scrubber.Text(line))
	}
}

// DataPath returns the path of a file or directory that the connector may keep data
// in, with all links followed. The file need not be there, its directory must be. One
// that is in no directory of the grant is refused, and so is one that a link leads out.
func (e Env) DataPath(path string) (string, error) {
	if e.Previews() {
		return path, nil
	}
	clean, err := filepath.Abs(path)
	if err != nil {
		return "", misconfigured("path", err)
	}
	for _, dir := range e.grant.Databases {
		if !within(filepath.Clean(dir), clean) {
			continue
		}
		top, err := filepath.EvalSymlinks(dir)
		if err != nil {
			return "", misconfigured("path", fmt.Errorf("the allowed directory %s cannot be used: %w", dir, pathCause(err)))
		}
		real, err := realPath(clean)
		if err != nil {
			return "", misconfigured("path", fmt.Errorf("%s: %w", path, pathCause(err)))
		}
		if within(top, real) && !e.isOwn(real) {
			return real, nil
		}
	}
	return "", misconfigured("path_denied", e.refused("path "+path, "databases", e.grant.Databases))
}

// realPath follows the links of a path whose last part may be missing.
func realPath(path string) (string, error) {
	if _, err := os.Lstat(path); err == nil {
		real, err := filepath.EvalSymlinks(path) // fails for a link to nothing
		if !errors.Is(err, fs.ErrNotExist) {
			return real, err
		}
		if _, gone := os.Lstat(path); gone == nil {
			return "", err
		} // else it went in between, as files beside a database do
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

func (e Env) isOwn(path string) bool {
	info, err := os.Stat(path)
	return err == nil && e.isOwnFile(info)
}

func (e Env) isOwnFile(info os.FileInfo) bool {
	for _, name := range e.host.Own {
		if own, err := os.Stat(name); err == nil && os.SameFile(info, own) {
			return true
		}
	}
	return false
}

// ErrNotAllowed says that the operator of this process does not allow a channel what it
// asks for. The message names the setting.
var ErrNotAllowed = errors.New("not allowed")

// refused says that the operator does not allow something, and how he would.
func (e Env) refused(what, list string, allowed List) error {
	there := "nothing"
	if len(allowed) > 0 {
		there = strings.Join(allowed, ", ")
	}
	setting := fmt.Sprintf("allow.%s (EXTSYNC_ALLOW_%s)", list, strings.ToUpper(list))
	if e.host.Allow.own(e.Channel, list) {
		setting = fmt.Sprintf("allow.channels.%s.%s (EXTSYNC_ALLOW_CHANNELS)", e.Channel, list)
	}
	return fmt.Errorf("%w to channel %s: %s; the setting %s of this process has %s", ErrNotAllowed, e.Channel, what, setting, there)
}

// misconfigured returns an error that blocks the channel.
func misconfigured(code string, err error) error {
	return &Error{Class: Misconfigured, Code: code, Err: err}
}
