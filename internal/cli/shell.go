// Package cli holds what the commands of all programs share: how they end, how
// they speak to people and to scripts, and the commands that need no embedded
// broker.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/wire"
)

// A Shell is what surrounds a command.
type Shell struct {
	In       io.Reader
	Out, Err io.Writer
	Environ  []string // in the form of os.Environ
	JSON     bool     // set by --json: Out gets one JSON document, Err one for an error

	contexts *string // what --context names; nil in a program without contexts
	started  bool    // the command line was understood
	goOn     string  // what to do after an interruption; "" if there is nothing to go on with
	end      context.CancelCauseFunc
}

// Main runs a program and returns its exit code. The first SIGINT, SIGTERM or
// SIGHUP ends the command's context; the second ends the process at once.
func Main(build func(*Shell) *cobra.Command) int {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup must keep its meaning
		signals = append(signals, syscall.SIGHUP)
	}
	// A reader that goes away shall not end the process before it has cleaned up.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	context.AfterFunc(ctx, func() {
		second := make(chan os.Signal, 1)
		signal.Notify(second, signals...)
		<-second
		os.Exit(ExitInterrupted) //nolint:forbidigo // "at once" means that nothing else gets a say
	})
	sh := &Shell{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Environ: os.Environ()}
	return sh.Run(ctx, build(sh), os.Args[1:])
}

// Run executes a command line and returns the exit code. Errors are reported on
// Err.
func (sh *Shell) Run(ctx context.Context, root *cobra.Command, args []string) int {
	root.AddCommand(documentCommand(sh))
	sh.addVersion(root)
	root.SetArgs(args)
	root.SetIn(sh.In)
	root.SetOut(sh.Out)
	root.SetErr(sh.Err)
	root.SilenceErrors, root.SilenceUsage, root.DisableSuggestions = true, true, true
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		sh.JSON = sh.JSON || asksForJSON(args) // the flag may stand behind the one that is wrong
		if rest := cmd.Flags().Args(); cmd.HasSubCommands() && len(rest) > 0 {
			return unknownCommand(cmd, rest[0])
		}
		return flagError(err, cmd.Flags())
	})
	sh.checked(root)
	sh.noteStart(root)
	running, end := context.WithCancelCause(ctx)
	defer end(nil)
	sh.end = end
	cmd, err := root.ExecuteContextC(running)
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, errFound): // and was written
		return ExitFound
	case !sh.started || errors.Is(err, errUsage):
		// Whatever goes wrong before a command runs is in the command line.
		return sh.report(misused(cmd, err))
	case ctx.Err() != nil:
		return sh.report(failure{Exit: ExitInterrupted, Code: "interrupted", Message: "interrupted", Hint: sh.goOn})
	}
	if cause := context.Cause(running); errors.Is(cause, broker.ErrRefused) && consequence(err) {
		err = cause
	}
	return sh.report(failed(err))
}

// asksForJSON reports whether --json is among the arguments.
func asksForJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	return slices.Contains(args, "--json")
}

// noteStart has a command and those below it say when they run. A hook of the
// root would be too early: flags that exclude each other are looked at after it.
func (sh *Shell) noteStart(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			sh.started = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		sh.noteStart(sub)
	}
}

// consequence reports whether an error says only that no answer came.
func consequence(err error) bool {
	return wire.IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// AddJSON gives a program's commands the flag --json.
func (sh *Shell) AddJSON(root *cobra.Command) {
	root.PersistentFlags().BoolVar(&sh.JSON, "json", false, "write one JSON document to standard output; an error is one line of JSON, the last of standard error")
}

// AddContexts gives a program's commands the flag --context: whoever works with several
// installations names them.
func (sh *Shell) AddContexts(root *cobra.Command) {
	sh.contexts = root.PersistentFlags().String("context", "", "installation that 'extsync context add' has named [$"+config.ContextEnv+"]")
	_ = root.RegisterFlagCompletionFunc("context", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) { // it is there
		names, _ := config.ContextsOf(sh.Environ).List() // who presses a key gets no error
		return names, cobra.ShellCompDirectiveNoFileComp
	})
}

// Settings loads the configuration of a command that may be told a context.
func (sh *Shell) Settings(l *config.Loader) (config.Config, error) {
	if sh.contexts != nil {
		l.UseContexts(config.ContextsOf(sh.Environ), sh.contexts)
	}
	return l.Load(sh.Environ)
}

// OwnSettings loads the configuration of a command that runs a broker itself.
func (sh *Shell) OwnSettings(l *config.Loader) (config.Config, error) {
	if sh.contexts != nil && *sh.contexts != "" {
		return config.Config{}, fmt.Errorf("%w: --context: this command runs a broker of its own", errUsage)
	}
	return l.Load(slices.DeleteFunc(slices.Clone(sh.Environ), func(entry string) bool {
		return strings.HasPrefix(entry, config.ContextEnv+"=")
	}))
}

// Group returns a command that only holds others.
func Group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		// Without these, cobra would answer an unknown subcommand with the help
		// text and exit code 0, or in its own words.
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(commands...)
	return cmd
}

// Connect loads the configuration and connects, for a command that ends by
// itself.
func (sh *Shell) Connect(ctx context.Context, l *config.Loader) (*operate.Client, error) {
	cfg, err := sh.Settings(l)
	if err != nil {
		return nil, err
	}
	client, err := operate.Connect(ctx, cfg, sh.Logger(cfg.Log, zerolog.ErrorLevel))
	if err != nil {
		return nil, err
	}
	// Nothing that the broker refuses is answered: there is nothing to wait for.
	client.EndOnRefusal(sh.end)
	return client, nil
}

// readTimeout bounds a command that only reads: a broker that goes away in the
// middle of a list would leave it waiting.
const readTimeout = 30 * time.Second

// Logger returns the logger that the configuration asks for. level is what is
// meant if it names none.
func (sh *Shell) Logger(c config.Log, level zerolog.Level) zerolog.Logger {
	if c.Level != "" {
		if l, err := zerolog.ParseLevel(c.Level); err == nil { // Validate has looked at it
			level = l
		}
	}
	out := sh.Err
	if c.Format == config.FormatConsole || c.Format == config.FormatAuto && terminal(sh.Err) {
		out = zerolog.ConsoleWriter{Out: sh.Err, NoColor: !sh.color(sh.Err), TimeFormat: "15:04:05.000"}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}

// WriteJSON writes a document for scripts.
func (sh *Shell) WriteJSON(v any) error {
	enc := json.NewEncoder(sh.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// color reports whether control codes may be written to w (see no-color.org).
func (sh *Shell) color(w io.Writer) bool {
	for _, entry := range sh.Environ {
		name, text, _ := strings.Cut(entry, "=")
		if name == "NO_COLOR" && text != "" || name == "TERM" && text == "dumb" {
			return false
		}
	}
	return terminal(w)
}

// Strong returns a text so that it stands out on standard output.
func (sh *Shell) Strong(text string) string { return sh.style(sh.Out, bold, text) }

const bold = "1"

// style returns the text in a style that the terminal knows by its SGR code.
func (sh *Shell) style(w io.Writer, code, text string) string {
	if !sh.color(w) {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// clean replaces what a terminal could take for a command. Keys, and what
// targets answer, come from outside.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
