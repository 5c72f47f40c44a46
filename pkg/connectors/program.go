package connectors

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Program returns the path of a program that the connector may start, with all links
// followed: that path is to be started, and no other. One that is not in the grant is
// refused, and so is one that a link leads to. The error is an *Error of class
// Misconfigured.
func (e Env) Program(path string) (string, error) {
	if e.Previews() {
		return "", misconfigured("program", errors.New("nothing is started for a preview"))
	}
	if !filepath.IsAbs(path) {
		return "", misconfigured("program", fmt.Errorf("%s is not an absolute path", path))
	}
	clean := filepath.Clean(path)
	for _, allowed := range e.grant.Programs {
		if !within(filepath.Clean(allowed), clean) {
			continue
		}
		top, err := filepath.EvalSymlinks(allowed)
		if err != nil {
			return "", misconfigured("program", fmt.Errorf("the allowed program or directory %s cannot be used: %w", allowed, pathCause(err)))
		}
		real, err := filepath.EvalSymlinks(clean)
		if err != nil {
			return "", misconfigured("program", fmt.Errorf("%s: %w", path, pathCause(err)))
		}
		if within(top, real) {
			if err := executable(path, real); err != nil {
				return "", err
			}
			return real, nil
		}
	}
	return "", misconfigured("program_denied", e.refused("program "+path, "programs", e.grant.Programs))
}

func executable(path, real string) error {
	info, err := os.Stat(real)
	switch {
	case err != nil:
		return misconfigured("program", fmt.Errorf("%s: %w", path, pathCause(err)))
	case !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0:
		return misconfigured("program", fmt.Errorf("%s cannot be started: it is no regular file, or nobody may execute it", path))
	default:
		return nil
	}
}
