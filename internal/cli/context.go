package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hms-utl/extsync/internal/config"
)

const contextHelp = `Keep broker, credentials and prefix of an installation under a name.

A command uses the context that --context names, or else EXTSYNC_CONTEXT, or else the
one in use. What flags, variables or a file (--config) say wins over a context. One that
is merely in use counts only where none of them says which broker is meant: the
credentials of one broker are never tried at another.

Contexts are files that you alone can read, in $XDG_CONFIG_HOME/extsync/contexts or
$HOME/.config/extsync/contexts. Credentials stay where they are: a context names their
files. Services (connector-worker, publisher) do not read contexts.`

// ContextCommand returns the commands about the installations that a person works with.
func ContextCommand(sh *Shell) *cobra.Command {
	cmd := Group("context", "Keep brokers and credentials under names", contextAdd(sh), contextUse(sh), contextList(sh), contextShow(sh), contextRemove(sh))
	cmd.Long = contextHelp
	return cmd
}

// contextView is a context as these commands tell it. It shows no credential.
type contextView struct {
	Name         string `json:"name"`
	InUse        bool   `json:"in_use"`
	Broker       string `json:"broker,omitempty"`
	Prefix       string `json:"prefix,omitempty"`
	CredsFile    string `json:"creds_file,omitempty"`
	NKeySeedFile string `json:"nkey_seed_file,omitempty"`
	CAFile       string `json:"ca_file,omitempty"`
	CertFile     string `json:"cert_file,omitempty"`
	KeyFile      string `json:"key_file,omitempty"`
	InboxPrefix  string `json:"inbox_prefix,omitempty"`
	AdminKey     string `json:"admin_key,omitempty"`
	File         string `json:"file"`
	Error        string `json:"error,omitempty"` // why its file cannot be used
}

func (sh *Shell) contextView(name string) (contextView, error) {
	all := config.ContextsOf(sh.Environ)
	v := contextView{Name: name}
	current, err := all.Current()
	if err != nil {
		return v, err
	}
	if v.File, err = all.Path(name); err != nil {
		return v, err
	}
	v.InUse = current == name
	c, err := all.Read(name)
	if err != nil {
		v.Error = err.Error()
		return v, err
	}
	v.Broker, v.Prefix, v.AdminKey, v.InboxPrefix = c.NATS.Address(), c.Prefix, c.AdminKey, c.NATS.InboxPrefix
	v.CredsFile, v.NKeySeedFile = c.NATS.CredsFile, c.NATS.NKeySeedFile
	v.CAFile, v.CertFile, v.KeyFile = c.NATS.TLS.CAFile, c.NATS.TLS.CertFile, c.NATS.TLS.KeyFile
	return v, nil
}

// credentials names what the context logs in with.
func (v contextView) credentials() string {
	for _, file := range []string{v.CredsFile, v.NKeySeedFile, v.CertFile} {
		if file != "" {
			return file
		}
	}
	return ""
}

func contextAdd(sh *Shell) *cobra.Command {
	var use, replace bool
	loader := config.NewLoader()
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Keep a broker, its credentials and the prefix under a name",
		Long: `Keep what the flags say under a name. The first context is in use at once. Files are
noted with their whole path; they are not copied.`,
		Example: `  extsync context add local --nats-url nats://127.0.0.1:4222
  extsync context add prod --nats-url tls://nats.example.com --nats-creds-file prod.creds --use`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			all := config.ContextsOf(sh.Environ)
			name := args[0]
			_, err := all.Read(name)
			path, pathErr := all.Path(name)
			switch {
			case pathErr != nil:
				return pathErr
			case !errors.Is(err, config.ErrContext) && !replace:
				return fmt.Errorf("%w: there is a context %s already; --replace writes it anew", errUsage, name)
			}
			c, err := loader.Given()
			if err != nil {
				return err
			}
			if err := all.Save(name, c); err != nil {
				return fmt.Errorf("keep the context in %s: %w", path, err)
			}
			if current, err := all.Current(); err != nil {
				return err
			} else if use || current == "" {
				if err := all.Use(name); err != nil {
					return err
				}
			}
			return sh.sayContext(name, "kept")
		},
	}
	cmd.Flags().BoolVar(&use, "use", false, "use it from now on")
	cmd.Flags().BoolVar(&replace, "replace", false, "write a context anew that is there")
	loader.DeclareContext(cmd.Flags())
	return cmd
}

// sayContext says what was done with a context.
func (sh *Shell) sayContext(name, done string) error {
	v, err := sh.contextView(name)
	if err != nil {
		return err
	}
	if sh.JSON {
		return sh.WriteJSON(v)
	}
	if v.InUse {
		done += ", in use"
	}
	_, err = fmt.Fprintf(sh.Out, "%s: %s (%s, prefix %s)\n", name, done, v.Broker, v.Prefix)
	return err
}

func contextUse(sh *Shell) *cobra.Command {
	var none bool
	cmd := &cobra.Command{
		Use:               "use NAME",
		Short:             "Use a context from now on",
		Long:              "Use a context from now on, wherever nothing else says which broker is meant; --none ends that.",
		Example:           "  extsync context use prod\n  extsync context use --none",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeContexts(sh),
		RunE: func(_ *cobra.Command, args []string) error {
			all := config.ContextsOf(sh.Environ)
			switch {
			case none == (len(args) == 1):
				return fmt.Errorf("%w: which context? Name one, or give --none", errUsage)
			case !none:
				if err := all.Use(args[0]); err != nil {
					return err
				}
				return sh.sayContext(args[0], "chosen")
			}
			if err := all.Use(""); err != nil {
				return err
			}
			if sh.JSON {
				return sh.WriteJSON(contextView{})
			}
			_, err := fmt.Fprintln(sh.Out, "no context is in use")
			return err
		},
	}
	cmd.Flags().BoolVar(&none, "none", false, "use no context")
	return cmd
}

func contextList(sh *Shell) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the contexts",
		Long:    "List the contexts, which of them is in use, and which cannot be read.",
		Example: "  extsync context list",
		Args:    cobra.NoArgs,
		RunE: func(_ *cobra.Command, _ []string) error {
			names, err := config.ContextsOf(sh.Environ).List()
			if err != nil {
				return err
			}
			views := make([]contextView, len(names))
			rows := make([][]string, len(names))
			for i, name := range names {
				v, err := sh.contextView(name)
				if err != nil && v.Error == "" {
					return err
				}
				inUse := ""
				if v.InUse {
					inUse = "yes"
				}
				views[i], rows[i] = v, []string{v.Name, inUse, v.Broker, v.Prefix, v.credentials(), v.Error}
			}
			switch {
			case sh.JSON:
				return sh.WriteJSON(map[string]any{"contexts": views})
			case len(names) == 0:
				_, err = fmt.Fprintln(sh.Out, "there are no contexts; 'extsync context add' makes one")
				return err
			}
			return writeTable(sh.Out, []string{"CONTEXT", "IN USE", "BROKER", "PREFIX", "CREDENTIALS", "PROBLEM"}, rows)
		},
	}
}

func contextShow(sh *Shell) *cobra.Command {
	return &cobra.Command{
		Use:               "show [NAME]",
		Short:             "Show a context, or the one in use",
		Long:              "Show a context, or the one in use. A password in the address of a broker is not shown.",
		Example:           "  extsync context show prod",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeContexts(sh),
		RunE: func(_ *cobra.Command, args []string) error {
			name := strings.Join(args, "")
			if name == "" {
				var err error
				if name, err = config.ContextsOf(sh.Environ).Current(); err != nil {
					return err
				}
			}
			if name == "" {
				return fmt.Errorf("%w: none is in use; 'extsync context use NAME' chooses one", config.ErrContext)
			}
			v, err := sh.contextView(name)
			if err != nil {
				return err
			}
			if sh.JSON {
				return sh.WriteJSON(v)
			}
			inUse := "no"
			if v.InUse {
				inUse = "yes"
			}
			var b strings.Builder
			for _, r := range [][2]string{
				{"name", v.Name},
				{"in use", inUse},
				{"broker", v.Broker},
				{"prefix", v.Prefix},
				{"credentials", v.CredsFile},
				{"nkey seed", v.NKeySeedFile},
				{"authorities", v.CAFile},
				{"certificate", v.CertFile},
				{"inbox prefix", v.InboxPrefix},
				{"admin key", v.AdminKey},
				{"file", v.File},
			} {
				if r[1] != "" {
					fmt.Fprintf(&b, "%-13s %s\n", r[0], clean(r[1]))
				}
			}
			_, err = io.WriteString(sh.Out, b.String())
			return err
		},
	}
}

func contextRemove(sh *Shell) *cobra.Command {
	return &cobra.Command{
		Use:               "remove NAME",
		Short:             "Forget a context",
		Long:              "Forget a context. The files with credentials that it names stay; at the broker nothing changes.",
		Example:           "  extsync context remove local",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeContexts(sh),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := config.ContextsOf(sh.Environ).Remove(args[0]); err != nil {
				return err
			}
			if sh.JSON {
				return sh.WriteJSON(map[string]string{"removed": args[0]})
			}
			_, err := fmt.Fprintf(sh.Out, "%s: forgotten\n", args[0])
			return err
		},
	}
}

// completeContexts completes with the names of contexts.
func completeContexts(sh *Shell) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names, _ := config.ContextsOf(sh.Environ).List() // who presses a key gets no error
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
