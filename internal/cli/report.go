package cli

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/schema"
)

// A failure is how a command ends that could not do what it was told to.
type failure struct {
	Exit    int    `json:"exit_code"`
	Code    string `json:"code"` // one word for programs
	Message string `json:"message"`
	// Problems are all things that are wrong with a configuration, if there are several.
	Problems []string `json:"problems,omitempty"`
	Hint     string   `json:"hint,omitempty"`
}

// misused is the failure of a command line that cannot be run.
func misused(cmd *cobra.Command, err error) failure {
	text := strings.TrimPrefix(words.Of(err), errUsage.Error()+": ")
	return failure{Exit: ExitUsage, Code: "usage", Message: cmd.CommandPath() + ": " + oneLine(text), Hint: usageHint(cmd)}
}

// failed is the failure of a command that ran.
func failed(err error) failure {
	v := classify(err)
	f := failure{Exit: v.exit, Code: v.code, Message: oneLine(words.Of(err)), Hint: v.hint}
	var bad *schema.Error
	if errors.As(err, &bad) && len(bad.Problems) > 1 && bad.Error() == err.Error() {
		f.Message = schema.ErrInvalid.Error()
		for _, line := range bad.Lines() {
			f.Problems = append(f.Problems, oneLine(line))
		}
	}
	return f
}

// report tells a failure on standard error and returns its exit code: to people one line
// that says what happened, or one for each thing that is wrong with a configuration, and
// one that says what to do; with --json one line of JSON.
func (sh *Shell) report(f failure) int {
	if sh.JSON {
		enc := json.NewEncoder(sh.Err)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(map[string]failure{"error": f}) // there is nobody else to tell
		return f.Exit
	}
	text := sh.style(sh.Err, bold, "error:") + " " + clean(f.Message) + "\n"
	for _, line := range f.Problems {
		text += "  " + clean(line) + "\n"
	}
	if f.Hint != "" {
		text += sh.style(sh.Err, bold, "hint:") + " " + f.Hint + "\n"
	}
	_, _ = io.WriteString(sh.Err, text) // likewise
	return f.Exit
}

// oneLine puts the lines of joined errors behind each other.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
