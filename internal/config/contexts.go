package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// ErrContext says that there is no context with a name, or none with that name can be.
var ErrContext = errors.New("no such context")

// ContextEnv names the variable that chooses a context.
const ContextEnv = envPrefix + "CONTEXT"

// Contexts are the installations that a person works with, each under a name: one file with
// broker, credentials and prefix for each, and one that says which is in use. They belong to
// a person: services do not read them.
type Contexts struct {
	// Dir is the directory; it need not be there.
	Dir string
}

// A Context is one installation. It is written like a configuration file.
type Context struct {
	NATS     broker.Config `yaml:"nats"`
	Prefix   string        `yaml:"prefix,omitempty"`
	AdminKey string        `yaml:"admin_key,omitempty"`
}

// contextName is what a context may be called: it is the name of a file.
var contextName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

const (
	othersWrite   = 0o022
	contextSuffix = ".yaml"
	currentFile   = "current"
)

// ContextsOf returns the contexts of the person that environ belongs to: those in
// $XDG_CONFIG_HOME/extsync/contexts, or in $HOME/.config/extsync/contexts. Without either
// variable there are none, and none can be made.
func ContextsOf(environ []string) Contexts {
	var base, home string
	for _, entry := range environ {
		switch name, text, _ := strings.Cut(entry, "="); name {
		case "XDG_CONFIG_HOME":
			base = text
		case "HOME":
			home = text
		}
	}
	switch {
	case filepath.IsAbs(base): // the specification of these directories ignores others
		return Contexts{Dir: filepath.Join(base, "extsync", "contexts")}
	case home != "":
		return Contexts{Dir: filepath.Join(home, ".config", "extsync", "contexts")}
	default:
		return Contexts{}
	}
}

// List returns the names of the contexts, sorted.
func (c Contexts) List() ([]string, error) {
	entries, err := os.ReadDir(c.Dir)
	if c.Dir == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), contextSuffix); ok && contextName.MatchString(name) {
			names = append(names, name)
		}
	}
	return names, err
}

// Current returns the name of the context that is in use, "" if there is none.
func (c Contexts) Current() (string, error) {
	if c.Dir == "" {
		return "", nil
	}
	data, err := os.ReadFile(filepath.Join(c.Dir, currentFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(data)), err
}

// Use makes a context the one in use; "" leaves none in use.
func (c Contexts) Use(name string) error {
	if name == "" {
		err := os.Remove(filepath.Join(c.Dir, currentFile))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if _, err := c.Read(name); err != nil {
		return err
	}
	return replaceFile(filepath.Join(c.Dir, currentFile), []byte(name+"\n"))
}

// Read returns a context. It fails with ErrContext if there is none, and with an error that
// wraps connectors.ErrConfig if its file is not as it should be.
func (c Contexts) Read(name string) (Context, error) {
	var out Context
	path, err := c.Path(name)
	if err != nil {
		return out, err
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return out, c.missing(name)
	case err == nil && info.Mode().Perm()&othersWrite != 0: // who writes it says where our commands go
		return out, fmt.Errorf("%w: others may write %s: take that right from them (chmod go-w), or make the context anew", connectors.ErrConfig, path)
	}
	base := Default()
	out = Context{NATS: base.NATS, Prefix: base.Prefix}
	var p connectors.Problems
	if err := decodeFile(&p, path, &out); err != nil {
		return out, err
	}
	if err := p.Err(); err != nil {
		return out, err
	}
	return out, out.validate()
}

func (c Context) validate() error {
	cfg := Default()
	c.over(&cfg)
	return cfg.Validate()
}

// over gives a configuration what the context says.
func (c Context) over(cfg *Config) { cfg.NATS, cfg.Prefix, cfg.AdminKey = c.NATS, c.Prefix, c.AdminKey }

// missing says that there is no such context, and which there are.
func (c Contexts) missing(name string) error {
	names, _ := c.List() // none to name is no other fault
	if len(names) == 0 {
		return fmt.Errorf("%w: %s; 'extsync context add %s' makes it", ErrContext, name, name)
	}
	return fmt.Errorf("%w: %s; there are %s", ErrContext, name, strings.Join(names, ", "))
}

// Save writes a context, readable by its owner alone: the URL of a broker may carry a
// password.
func (c Contexts) Save(name string, content Context) error {
	path, err := c.Path(name)
	if err != nil {
		return err
	}
	data, err := yaml.Marshal(content)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	return replaceFile(path, data)
}

// Remove removes a context. If it is the one in use, none is in use afterwards.
func (c Contexts) Remove(name string) error {
	path, err := c.Path(name)
	if err != nil {
		return err
	}
	if err := os.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return c.missing(name)
	} else if err != nil {
		return err
	}
	if current, err := c.Current(); err != nil || current != name {
		return err
	}
	return c.Use("")
}

// Path returns the file of a context, whether it is there or not.
func (c Contexts) Path(name string) (string, error) {
	switch {
	case c.Dir == "":
		return "", fmt.Errorf("%w: neither XDG_CONFIG_HOME nor HOME says where contexts are kept", ErrContext)
	case !contextName.MatchString(name) || name == currentFile+contextSuffix:
		return "", fmt.Errorf("%w: %q: a name has up to 64 letters, digits, '_', '-' and '.', and starts with a letter or digit", ErrContext, name)
	}
	return filepath.Join(c.Dir, name+contextSuffix), nil
}

// replaceFile writes a file so that nobody ever reads half of it.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // its mode is 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// UseContexts has Load begin with a context: the one that chosen names, else the one that
// ContextEnv names, else the one in use. A context in use that nobody has named counts only
// where neither a file nor a variable nor a flag says which broker is meant, so that the
// credentials of one broker never meet the address of another.
func (l *Loader) UseContexts(c Contexts, chosen *string) { l.contexts, l.chosen = c, chosen }

// context returns the context that Load begins with, and its name; "" if there is none.
func (l *Loader) context(env map[string]string, file string) (c Context, name string, err error) {
	if l.chosen == nil {
		return c, "", nil
	}
	name = cmp.Or(*l.chosen, env[ContextEnv])
	if name == "" {
		url := l.flags["nats.url"]
		if file != "" || env[urlEnv] != "" || url != nil && url.set {
			return c, "", nil
		}
		if name, err = l.contexts.Current(); err != nil || name == "" {
			return c, "", err
		}
	}
	if c, err = l.contexts.Read(name); err != nil && *l.chosen == "" {
		from := ContextEnv + " names it"
		if env[ContextEnv] == "" {
			from = "it is the one in use; 'extsync context use --none' ends that"
		}
		err = fmt.Errorf("%w (%s)", err, from)
	}
	return c, name, err
}

const urlEnv = envPrefix + "NATS_URL"

// Given returns the settings of a context that flags have set.
func (l *Loader) Given() (Context, error) {
	c := Default()
	var p connectors.Problems
	for _, s := range l.settings {
		if v := l.flags[s.path]; v != nil && v.set {
			p.AddError("--"+s.flag(), s.set(&c, v.text))
		}
	}
	if err := p.Err(); err != nil {
		return Context{}, err
	}
	for _, field := range []*string{&c.NATS.CredsFile, &c.NATS.NKeySeedFile, &c.NATS.TLS.CAFile, &c.NATS.TLS.CertFile, &c.NATS.TLS.KeyFile, &c.AdminKey} {
		if *field == "" {
			continue
		}
		abs, err := filepath.Abs(*field) // it is read wherever somebody stands later
		if err != nil {
			return Context{}, err
		}
		*field = abs
	}
	out := Context{NATS: c.NATS, Prefix: c.Prefix, AdminKey: c.AdminKey}
	return out, out.validate()
}
