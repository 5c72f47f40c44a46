package connfile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// An entry is a file in the directory of a key.
type entry struct {
	name    string
	version versioning.Version
	kind    entryKind
}

type entryKind uint8

const (
	contentEntry entryKind = iota // VERSION.json or VERSION.deleted
	tagEntry                      // .VERSION.tag
	tempEntry                     // .VERSION.json.0123456789abcdef.tmp
)

// parseEntry reads a name in the directory of a key. What is not ours is left alone.
func parseEntry(name string) (e entry, ok bool) {
	rest, hidden := strings.CutPrefix(name, ".")
	parts := strings.Split(rest, ".")
	v, ok := parseVersion(parts[0])
	e = entry{name: name, version: v}
	last := parts[len(parts)-1]
	switch {
	case !ok:
	case !hidden:
		ok = len(parts) == 2 && last != ""
	case last == tagExt && len(parts) == 2:
		e.kind = tagEntry
	case last == tempExt && len(parts) >= 3:
		e.kind = tempEntry
	default:
		ok = false
	}
	return e, ok
}

// A shelf is what the directory of a key holds: the newest version that has both content and
// tag, and everything.
type shelf struct {
	dir     string
	absent  bool // the directory is not there
	held    tag
	entries []entry
}

// look reads the directory of a key.
func (c *connector) look(ctx context.Context, f files, key string) (shelf, error) {
	s := shelf{dir: c.keyName(key)}
	for first := true; ; first = false {
		names, err := f.list(ctx, s.dir)
		if errors.Is(err, fs.ErrNotExist) {
			s.absent = true
			return s, f.there(ctx, versionsLayout) // or is it all of the directory that is not there?
		}
		if err != nil {
			return s, err
		}
		s.entries = s.entries[:0]
		for _, name := range names {
			if e, ok := parseEntry(name); ok {
				s.entries = append(s.entries, e)
			}
		}
		newest := s.newest()
		if newest.IsZero() && len(s.entries) > 0 && first {
			continue // a listing may miss what comes while it is made
		}
		if newest.IsZero() {
			return s, nil
		}
		s.held, err = readTag(ctx, f, tagName(s.dir, newest))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a newer one has taken its place
		}
		if errors.Is(err, errForeign) {
			s.held.Version = newest
			err = nil // the version is known, and no digest is equal to it
		}
		return s, err
	}
}

// newest returns the newest version that has both content and tag. Of versions of both
// kinds, which racing writers alone can leave, times count as newer, everywhere.
func (s *shelf) newest() versioning.Version {
	tagged := map[versioning.Version]bool{}
	for _, e := range s.entries {
		if e.kind == tagEntry {
			tagged[e.version] = true
		}
	}
	var best versioning.Version
	for _, e := range s.entries {
		if e.kind == contentEntry && tagged[e.version] && newer(e.version, best) {
			best = e.version
		}
	}
	return best
}

func newer(v, w versioning.Version) bool {
	order, err := v.Compare(w)
	if err != nil {
		return v.Kind() == versioning.Timed
	}
	return order > 0
}

func tagName(dir string, v versioning.Version) string {
	return path.Join(dir, "."+versionName(v)+"."+tagExt)
}

func readTag(ctx context.Context, f files, name string) (tag, error) {
	data, err := f.read(ctx, name)
	if err != nil {
		return tag{}, err
	}
	return parseTag(data)
}

// parseTag reads what tagOf has written.
func parseTag(data []byte) (t tag, err error) {
	if json.Unmarshal(data, &t) != nil || t.Version.IsZero() || t.Digest.IsZero() {
		return tag{}, errForeign
	}
	return t, nil
}

// addVersion is the layout versions.
func (c *connector) addVersion(ctx context.Context, f files, a *connectors.Attempt) connectors.Result {
	for tries := 1; ; tries++ {
		s, err := c.look(ctx, f, a.Key)
		if err != nil {
			return c.failed(ctx, err)
		}
		verdict, res := judge(s.held, a)
		switch {
		case verdict == versioning.Duplicate && !a.Again: // by an earlier call, which may not have come to its end
		case verdict == versioning.Duplicate:
			err = c.putVersion(ctx, f, s, a)
		case verdict == versioning.Newer:
			var there tag
			if there, err = c.claim(ctx, f, s, a); err == nil && there.Digest != a.Digest {
				return inConflict(there)
			}
			if err == nil {
				err = c.putVersion(ctx, f, s, a)
			}
		default:
			return res
		}
		if err == nil {
			err = c.settle(ctx, f, s, a)
		}
		if err == nil {
			return connectors.Done()
		}
		if !errors.Is(err, fs.ErrNotExist) || tries == 3 {
			return c.failed(ctx, err)
		} // else a newer version has removed what this one has begun
	}
}

// judge says what an attempt is against what the directory holds, and the result where the
// attempt is not to be written.
func judge(held tag, a *connectors.Attempt) (versioning.Verdict, connectors.Result) {
	v, err := versioning.Guard(held.Tag, versioning.Tag{Version: a.Version, Digest: a.Digest}, versioning.Version{})
	res := connectors.Result{Held: held.Tag}
	switch v {
	case versioning.Stale:
		res.Class, res.Code = connectors.Stale, "stale"
		res.Err = fmt.Errorf("the directory holds version %s, which is newer", held.Version)
	case versioning.Conflict:
		res = inConflict(held)
	case versioning.Refused:
		res.Class, res.Code = connectors.Conflict, "version-kind"
		res.Err = fmt.Errorf("the directory holds a version of another kind: %w", err)
	default: // to be written, or there
	}
	return v, res
}

func (c *connector) putVersion(ctx context.Context, f files, s shelf, a *connectors.Attempt) error {
	return put(ctx, f, path.Join(s.dir, versionName(a.Version)+c.ext(a.Op)), c.content(a), false)
}

func inConflict(there tag) connectors.Result {
	return connectors.Result{
		Class: connectors.Conflict, Code: "conflict", Held: there.Tag,
		Err: fmt.Errorf("the directory holds version %s with another content", there.Version),
	}
}

// claim makes the tag of a version, and returns the tag that it has then: only one writer
// can have made it. A tag without content is that of a writer that has not come further.
func (c *connector) claim(ctx context.Context, f files, s shelf, a *connectors.Attempt) (tag, error) {
	if s.absent {
		if err := f.mkdir(ctx, s.dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return tag{}, err
		}
	}
	name := tagName(s.dir, a.Version)
	temp := tempName(path.Join(s.dir, versionName(a.Version)+"."+tagExt))
	err := f.create(ctx, temp, tagOf(a))
	if err == nil {
		err = f.link(ctx, temp, name)
	}
	_ = f.remove(ctx, temp) // what stays is removed with the version
	switch {
	case err == nil:
		return tag{Tag: versioning.Tag{Version: a.Version, Digest: a.Digest}}, nil
	case !errors.Is(err, fs.ErrExist):
		return tag{}, err
	}
	there, err := readTag(ctx, f, name)
	if errors.Is(err, errForeign) {
		return tag{Tag: versioning.Tag{Version: a.Version}}, nil
	}
	return there, err
}

// settle waits until the names of a version are on the disk, and then removes what is older,
// and the same version under another name.
func (c *connector) settle(ctx context.Context, f files, s shelf, a *connectors.Attempt) error {
	if err := f.sync(ctx, s.dir); err != nil {
		return err
	}
	if s.held.IsZero() { // the directory itself may be new
		if err := f.sync(ctx, "."); err != nil {
			return err
		}
	}
	own := versionName(a.Version) + c.ext(a.Op)
	for _, kind := range []entryKind{contentEntry, tagEntry, tempEntry} { // a content is never without its tag
		for _, e := range s.entries {
			other := e.version == a.Version && kind == contentEntry && e.name != own
			if e.kind == kind && (newer(a.Version, e.version) || other) {
				_ = f.remove(ctx, path.Join(s.dir, e.name)) // if it fails, the next update tries again
			}
		}
	}
	return nil
}
