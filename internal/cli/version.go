package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionInfo is what version tells.
type versionInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a changed working tree
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// readVersion reads what the Go tool has built into the binary.
func readVersion() versionInfo {
	v := versionInfo{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// Version returns the version of the program, "unknown" if the build does not say.
func Version() string { return readVersion().Version }

// VersionCommand returns the command that tells which build this is.
func VersionCommand(sh *Shell) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Tell which build this is",
		Long: `Tell which build this is: version and revision of the source, Go, and the
platform. It asks no broker.`,
		Example: "  extsync version --json",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return sh.writeVersion(cmd) },
	}
}

func (sh *Shell) writeVersion(cmd *cobra.Command) error {
	v := readVersion()
	if sh.JSON {
		return sh.WriteJSON(v)
	}
	revision := ""
	if v.Revision != "" {
		revision = " " + v.Revision
	}
	_, err := fmt.Fprintf(sh.Out, "%s %s%s %s %s\n", cmd.Root().Name(), v.Version, revision, v.Go, v.Platform)
	return err
}

// addVersion gives a program the flag --version, which does what the command version does.
func (sh *Shell) addVersion(root *cobra.Command) {
	var version bool
	root.Flags().BoolVar(&version, "version", false, "tell which build this is")
	run := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		if version {
			return sh.writeVersion(cmd)
		}
		return run(cmd, args)
	}
}
