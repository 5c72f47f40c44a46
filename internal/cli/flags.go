package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/hms-utl/extsync/pkg/schema"
)

// durationVar declares a flag that takes what schema.ParseDuration does.
func durationVar(flags *pflag.FlagSet, to *time.Duration, name string, standard time.Duration, usage string) {
	*to = standard
	flags.Var((*durationValue)(to), name, usage)
}

// A durationValue is a duration as a flag.
type durationValue time.Duration

// Set reads the duration.
func (d *durationValue) Set(text string) error {
	v, err := schema.ParseDuration(text)
	if err != nil {
		return err
	}
	*d = durationValue(v)
	return nil
}

// String writes the duration as people would: 7d, not 168h0m0s.
func (d *durationValue) String() string {
	const day = 24 * time.Hour
	if v := time.Duration(*d); v >= day && v%day == 0 {
		return fmt.Sprintf("%dd", v/day)
	}
	return time.Duration(*d).String()
}

// Type is what --help shows for the value.
func (d *durationValue) Type() string { return "duration" }

// exclusiveMark is how cobra marks flags of which only one can be given. Its own check says
// so in terms of "groups".
const exclusiveMark = "cobra_annotation_mutually_exclusive"

// checkExclusive refuses two flags that exclude each other.
func checkExclusive(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		for _, group := range f.Annotations[exclusiveMark] {
			var given []string
			for _, name := range strings.Fields(group) {
				if other := flags.Lookup(name); other != nil && other.Changed {
					given = append(given, "--"+name)
				}
			}
			if len(given) > 1 {
				err = fmt.Errorf("%w: give only one of %s", errUsage, strings.Join(given, ", "))
			}
		}
	})
	return err
}

// flagError says in words what is wrong with a flag; names are those that the command has.
func flagError(err error, flags *pflag.FlagSet) error {
	switch e := err.(type) { //nolint:errorlint // the flag package wraps none of them
	case *pflag.NotExistError:
		if e.GetSpecifiedShortnames() != "" {
			return fmt.Errorf("%w: there is no flag -%s", errUsage, clean(e.GetSpecifiedName()))
		}
		return fmt.Errorf("%w: there is no flag --%s%s", errUsage, clean(e.GetSpecifiedName()), didYouMean("--", nearest(e.GetSpecifiedName(), flagNames(flags))))
	case *pflag.ValueRequiredError:
		return fmt.Errorf("%w: --%s needs a value: %s", errUsage, e.GetFlag().Name, e.GetFlag().Usage)
	case *pflag.InvalidValueError:
		return fmt.Errorf("%w: --%s: %s", errUsage, e.GetFlag().Name, valueProblem(e))
	default:
		return fmt.Errorf("%w: %w", errUsage, err)
	}
}

// valueProblem says what a flag takes. Numbers are read by the flag package, whose errors
// name functions of Go; our own types have words of their own.
func valueProblem(e *pflag.InvalidValueError) string {
	value := fmt.Sprintf("%q", clean(e.GetValue()))
	switch e.GetFlag().Value.Type() {
	case "bool":
		return value + " is neither true nor false"
	case "int", "int64", "uint64":
		return value + " is not a whole number, or not one that it takes"
	case "float64":
		return value + " is not a number"
	default:
		return clean(e.Unwrap().Error())
	}
}

// flagNames returns the names of the flags that --help shows.
func flagNames(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return names
}

// nearest returns the name that was probably meant, "" if none is like it.
func nearest(name string, names []string) string { return schema.Near(name, names) }

// didYouMean asks for a name, if there is one; before stands in front of it.
func didYouMean(before, name string) string {
	if name == "" {
		return ""
	}
	return "; did you mean " + before + name + "?"
}
