package app

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// withoutOwn returns secrets that keep a channel from what the process has for
// itself: its key at the broker, its settings, and what the system shows of it.
// Whoever may configure a channel could have them sent to a target, and would be a
// worker then.
func withoutOwn(s connectors.Secrets, cfg *config.Config) connectors.Secrets {
	own := slices.DeleteFunc([]string{
		cfg.File, cfg.NATS.CredsFile, cfg.NATS.NKeySeedFile, cfg.NATS.TLS.KeyFile, cfg.HTTP.KeyFile,
	}, func(name string) bool { return name == "" })
	s.RefuseEnv = func(name string) error {
		if strings.HasPrefix(name, "EXTSYNC_") || strings.HasPrefix(name, "OTEL_") {
			return fmt.Errorf("environment variable %s is extsync's own, and no secret of a channel", name)
		}
		return nil
	}
	s.RefuseFile = func(path string) error {
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return nil //nolint:nilerr // it is not there, which reading it says
		}
		if real, err = filepath.Abs(real); err != nil {
			return err
		}
		for _, dir := range []string{"/proc", "/sys", "/dev"} {
			if real == dir || strings.HasPrefix(real, dir+"/") {
				return fmt.Errorf("%s is the system's, and no secret of a channel", path)
			}
		}
		info, err := os.Stat(real)
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		for _, name := range own {
			if other, err := os.Stat(name); err == nil && os.SameFile(info, other) {
				return fmt.Errorf("%s is extsync's own, and no secret of a channel", path)
			}
		}
		return nil
	}
	return s
}
