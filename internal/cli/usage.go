package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// checked has a command, and those below it, say in words what is wrong with its command
// line: which argument is missing, and which name was probably meant.
func (sh *Shell) checked(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return argumentError(cmd, args, err)
			}
			return checkExclusive(cmd.Flags())
		}
	}
	for _, sub := range cmd.Commands() {
		sh.checked(sub)
	}
}

// argumentError names the arguments that are missing, or the first that is too many.
func argumentError(cmd *cobra.Command, args []string, err error) error {
	required, most := usageArguments(cmd.Use)
	if byTopic(cmd) {
		required, most = required[1:], most-1
	}
	switch {
	case len(args) < len(required):
		missing := required[len(args):]
		is := "is"
		if len(missing) > 1 {
			is = "are"
		}
		return fmt.Errorf("%w: %s %s missing", errUsage, strings.Join(missing, " and "), is)
	case most >= 0 && len(args) > most && most == 0:
		return fmt.Errorf("%w: %q: the command takes no arguments, only flags", errUsage, clean(args[0]))
	case most >= 0 && len(args) > most:
		return fmt.Errorf("%w: %q is one argument too many", errUsage, clean(args[most]))
	default:
		return fmt.Errorf("%w: %w", errUsage, err)
	}
}

// usageArguments returns the names of the arguments that a command must have, and how many
// it can have; -1 for any number. It reads them from the line that --help shows.
func usageArguments(use string) (required []string, most int) {
	for _, word := range strings.Fields(use)[1:] {
		name := strings.Trim(word, "[].")
		switch {
		case name != strings.ToUpper(name): // of a flag, which follows
			return required, most
		case most >= 0:
			most++
		}
		if strings.HasSuffix(strings.Trim(word, "]"), "...") {
			most = -1
		}
		if !strings.HasPrefix(word, "[") {
			required = append(required, name)
		}
	}
	return required, most
}

// usageHint shows how a command is called.
func usageHint(cmd *cobra.Command) string {
	if cmd.HasSubCommands() {
		return "see '" + cmd.CommandPath() + " --help'"
	}
	return "usage: " + cmd.UseLine() + "; see '" + cmd.CommandPath() + " --help'"
}

// unknownCommand says that there is no command of a name below another one, and which was
// probably meant: one that is written alike, or one of the name somewhere else.
func unknownCommand(cmd *cobra.Command, name string) error {
	names := map[string]string{}
	var list []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names[sub.Name()] = sub.CommandPath()
			list = append(list, sub.Name())
		}
	}
	meant := names[nearest(name, list)]
	if !cmd.HasParent() && meant == "" {
		meant = commandNamed(cmd, name)
	}
	quoted := meant
	if meant != "" {
		quoted = "'" + meant + "'"
	}
	return fmt.Errorf("%w: there is no command %q%s", errUsage, clean(name), didYouMean("", quoted))
}

// commandNamed returns the path of the only command of a name, "" if there are none or
// several.
func commandNamed(cmd *cobra.Command, name string) string {
	found := ""
	for _, sub := range cmd.Commands() {
		path := ""
		if sub.Name() == name && sub.IsAvailableCommand() {
			path = sub.CommandPath()
		} else {
			path = commandNamed(sub, name)
		}
		switch {
		case path == "":
		case found != "":
			return ""
		default:
			found = path
		}
	}
	return found
}
