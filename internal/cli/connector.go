package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/tryout"
	"github.com/hms-utl/extsync/internal/words"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/conformance"
	"github.com/hms-utl/extsync/pkg/connectors/connplugin"
)

const connectorTestHelp = `Run the conformance suite on a plugin: everything that a connector must do before a
channel may rely on it. The plugin is a program with its arguments, or an address with
--url. Its target is really written to: keys that begin with "t" and six hex digits, and
with "extsync-guard-". Nothing is taken from a broker or told to one.

The suite asks what the plugin says that it can do: a guard "atomic" or "conditional" is
raced by eight processes at once, and with "reads" another process of it looks at what
is held after each step. What is not declared is not tested, and the output says so.
Without "reads" nobody looks at what the target holds. Never tested on a plugin are a
target that is cut off, hangs or loses answers: this command cannot make those.

--config is the plugin's configuration, as YAML or JSON, or @FILE. References to
secrets are resolved as a worker does, within the defaults of the settings "allow".
The suite's payloads are JSON objects with one field "text"; a plugin that takes others
needs --payload. With --bad-payload, which the plugin must refuse for good, it is
tested that one bad update does not fail its batch.

When all cases pass, the last lines are the capabilities to be written into a channel.`

// connectorTestFlags are those of "connector test".
type connectorTestFlags struct {
	url, config, payload, bad string
	times                     bool
	maxBatch                  int
}

// ConnectorCommand returns the commands for whoever writes a connector.
func ConnectorCommand(sh *Shell) *cobra.Command {
	group := Group("connector", "Test a connector of one's own", connectorTestCommand(sh))
	group.Long = "Test a plugin: a connector in any language, a program or a server."
	return group
}

func connectorTestCommand(sh *Shell) *cobra.Command {
	var f connectorTestFlags
	cmd := &cobra.Command{
		Use:     "test [flags] (-- COMMAND [ARGUMENT...] | --url URL)",
		Short:   "Run the conformance suite on a plugin",
		Long:    connectorTestHelp,
		Example: "  extsync connector test --config '{file: /tmp/store.db}' -- ./mine.py\n  extsync connector test --url http://127.0.0.1:8080/ --times",
		Args: func(cmd *cobra.Command, args []string) error {
			if (len(args) > 0) == (f.url != "") {
				return errors.New("give the plugin as a command behind --, or as --url")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), sh, args) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.url, "url", "", "the plugin listens here: http://, https:// or unix:/path")
	fl.StringVar(&f.config, "config", "", "the plugin's configuration, or @FILE")
	fl.StringVar(&f.payload, "payload", "", "a payload that it takes, with {text} where a text of the suite's is to be")
	fl.StringVar(&f.bad, "bad-payload", "", "a payload that it refuses for good")
	fl.BoolVar(&f.times, "times", false, "its versions may be times, too")
	fl.IntVar(&f.maxBatch, "max-batch", 100, "the most attempts in one request")
	return cmd
}

// pluginReport is what --json tells.
type pluginReport struct {
	Result string               `json:"result"` // passed or failed
	Error  string               `json:"error,omitempty"`
	Hello  *connplugin.Hello    `json:"hello,omitempty"`
	Cases  []conformance.Result `json:"cases"`
}

func (f connectorTestFlags) run(ctx context.Context, sh *Shell, args []string) error {
	p, err := f.plugin(sh, args)
	if err != nil {
		return err
	}
	report := pluginReport{Result: "passed", Cases: []conformance.Result{}}
	hello, err := tryout.TestPlugin(ctx, p, func(r conformance.Result) {
		report.Cases = append(report.Cases, r)
		if !r.Passed {
			report.Result = "failed"
		}
		if !sh.JSON {
			_, _ = io.WriteString(sh.Out, caseText(sh, r)) // the last line fails, too
		}
	})
	if ctx.Err() != nil || errors.Is(err, connectors.ErrNotAllowed) {
		return err
	}
	if err != nil {
		report.Result, report.Error = "failed", words.Of(err)
	} else {
		report.Hello = &hello
	}
	return report.tell(sh)
}

// plugin returns what the flags describe.
func (f connectorTestFlags) plugin(sh *Shell, args []string) (tryout.Plugin, error) {
	p := tryout.Plugin{Times: f.times, Payload: f.payload, Bad: f.bad}
	p.Host.Allow = connectors.DefaultAllow()
	p.Host.Allow.Networks = connectors.List{"0.0.0.0/0", "::/0"} // it is this machine's user who names the address
	p.Log = func(line string) { _, _ = fmt.Fprintln(sh.Err, "plugin:", clean(line)) }
	p.Config = connplugin.Config{Via: "exec", URL: f.url, MaxBatch: f.maxBatch}
	if socket, ok := strings.CutPrefix(f.url, "unix:"); ok {
		p.Host.Allow.Databases = connectors.List{filepath.Dir(socket)}
	}
	if f.url != "" {
		p.Config.Via, p.Config.AllowCIDRs = "http", p.Host.Allow.Networks
	} else {
		command, err := resolveCommand(args)
		if err != nil {
			return p, err
		}
		p.Config.Command, p.Host.Allow.Programs = command, connectors.List{command[0]}
	}
	text := []byte(f.config)
	if name, ok := strings.CutPrefix(f.config, "@"); ok {
		var err error
		if text, err = os.ReadFile(name); err != nil {
			return p, err
		}
	}
	if err := connectors.DecodeStrict(text, &p.Config.Config); err != nil {
		return p, fmt.Errorf("--config: %w", err)
	}
	return p, nil
}

// resolveCommand makes a command one that can be started in any directory: the program is
// looked for as a shell does, and arguments that name a file get its whole path.
func resolveCommand(args []string) ([]string, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	out := append([]string{path}, args[1:]...)
	for i, arg := range out {
		if _, err := os.Stat(arg); i > 0 && (err != nil || strings.HasPrefix(arg, "-")) {
			continue
		}
		if out[i], err = filepath.Abs(arg); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// caseText shows the result of a case.
func caseText(sh *Shell, r conformance.Result) string {
	mark := "ok    "
	if !r.Passed {
		mark = sh.style(sh.Out, bold, "FAIL  ")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s (%d ms)\n", mark, r.Name, r.TookMS)
	for _, e := range r.Errors {
		fmt.Fprintf(&b, "        %s\n", clean(oneLine(e)))
	}
	for _, n := range r.NotTested {
		fmt.Fprintf(&b, "      - not tested: %s\n", clean(n))
	}
	if !r.Passed {
		for _, n := range r.Notes {
			fmt.Fprintf(&b, "        (%s)\n", clean(n))
		}
	}
	return b.String()
}

// tell writes the end of a report.
func (r pluginReport) tell(sh *Shell) error {
	var err error
	switch {
	case sh.JSON:
		err = sh.WriteJSON(r)
	case r.Error != "":
		_, err = fmt.Fprintf(sh.Out, "%shello: %s\n", sh.style(sh.Out, bold, "FAIL  "), clean(oneLine(r.Error)))
	default:
		failed := 0
		for _, c := range r.Cases {
			if !c.Passed {
				failed++
			}
		}
		text := fmt.Sprintf("%d of %d cases passed\n", len(r.Cases)-failed, len(r.Cases))
		if failed == 0 {
			text += "capabilities: " + r.Hello.Capabilities.YAML() + "\n"
		}
		_, err = io.WriteString(sh.Out, text)
	}
	if err == nil && r.Result != "passed" {
		return errFound
	}
	return err
}
