package cli

import (
	"os"
	"strings"
	"testing"
)

func TestColorOnTerminal(t *testing.T) {
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	for name, tt := range map[string]struct {
		environ []string
		want    bool
	}{
		"terminal":                       {[]string{"TERM=xterm"}, true},
		"empty NO_COLOR counts as unset": {[]string{"NO_COLOR="}, true},
		"NO_COLOR":                       {[]string{"TERM=xterm", "NO_COLOR=1"}, false},
		"dumb terminal":                  {[]string{"TERM=dumb"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			sh := &Shell{Out: terminal, Environ: tt.environ}
			if got := strings.Contains(sh.Strong("x"), "\x1b"); got != tt.want {
				t.Errorf("color: %v, want %v", got, tt.want)
			}
		})
	}
}
