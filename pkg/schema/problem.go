package schema

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrInvalid says that a configuration is not valid. An Error wraps it.
var ErrInvalid = errors.New("invalid configuration")

// A Problem is one thing that is wrong with a configuration.
type Problem struct {
	File    string // "": not known
	Line    int    // in the document; 0: not known, or the document has one line only
	Path    string // channels[3].connector.config.url; "": the document as a whole
	Message string
}

// String returns the problem on one line, as compilers do where the file is known.
func (p Problem) String() string {
	where := ""
	switch {
	case p.File != "" && p.Line > 0:
		where = fmt.Sprintf("%s:%d: ", p.File, p.Line)
	case p.File != "":
		where = p.File + ": "
	case p.Line > 0:
		where = fmt.Sprintf("line %d: ", p.Line)
	}
	if p.Path != "" {
		where += p.Path + ": "
	}
	return where + p.Message
}

// An Error is everything that is wrong with a configuration, in the order of the file.
type Error struct{ Problems []Problem }

// mostTold bounds how many problems an error tells.
const mostTold = 100

// Lines returns a line for each problem, and one that counts those past the first 100.
func (e *Error) Lines() []string {
	var out []string
	for _, p := range e.Problems[:min(len(e.Problems), mostTold)] {
		out = append(out, p.String())
	}
	if more := len(e.Problems) - mostTold; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return out
}

// Error returns all on one line.
func (e *Error) Error() string { return ErrInvalid.Error() + ": " + strings.Join(e.Lines(), "; ") }

// Unwrap returns ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// Problems collects what is wrong with a configuration. The zero value is ready. It is
// for one goroutine.
type Problems struct {
	list     []Problem
	unread   map[string]bool // the paths whose values could not be read
	document *document
	file     string
}

// InFile has all problems told with the name of a file.
func (p *Problems) InFile(name string) *Problems {
	p.file = name
	return p
}

// Add notes one problem with the field at path.
func (p *Problems) Add(path, format string, args ...any) {
	p.add(Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// AddError notes what err says about the configuration at path: each of its problems with
// its own path below that one, if it is an Error. nil says nothing.
func (p *Problems) AddError(path string, err error) {
	if err == nil {
		return
	}
	var e *Error
	if !errors.As(err, &e) {
		text := err.Error()
		if errors.Is(err, ErrInvalid) { // it is said once, for the whole document
			text = strings.TrimPrefix(text, ErrInvalid.Error()+": ")
		}
		p.Add(path, "%s", text)
		return
	}
	for _, one := range e.Problems {
		p.add(Problem{Path: join(path, one.Path), Message: one.Message})
	}
}

// add drops what only follows from a value that could not be read, and what was said
// already.
func (p *Problems) add(one Problem) {
	for path := one.Path; ; path = parent(path) {
		if p.unread[path] {
			return
		}
		if path == "" {
			break
		}
	}
	if !slices.Contains(p.list[max(0, len(p.list)-mostTold):], one) {
		p.list = append(p.list, one)
	}
}

// Err returns nil if nothing was added, else an *Error with everything.
func (p *Problems) Err() error {
	if len(p.list) == 0 {
		return nil
	}
	list := slices.Clone(p.list)
	for i := range list {
		if list[i].Line == 0 && p.document != nil {
			list[i].Line = p.document.line(list[i].Path)
		}
		if list[i].File == "" {
			list[i].File = p.file
		}
	}
	slices.SortStableFunc(list, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &Error{Problems: list}
}

// Join returns one Error with the problems of all, or nil if there are none. Errors of
// other types come first and alone.
func Join(errs ...error) error {
	var all []Problem
	for _, err := range errs {
		var e *Error
		if errors.As(err, &e) {
			all = append(all, e.Problems...)
		} else if err != nil {
			return err
		}
	}
	if len(all) == 0 {
		return nil
	}
	return &Error{Problems: all}
}

// join returns the path of what lies below another.
func join(path, below string) string {
	if path == "" || below == "" || below[0] == '[' {
		return path + below
	}
	return path + "." + below
}

// parent returns the path of what a path lies in, "" for the document.
func parent(path string) string {
	quoted := false
	for i := len(path) - 1; i >= 0; i-- {
		switch c := path[i]; {
		case c == '"':
			quoted = !quoted
		case (c == '.' || c == '[') && !quoted:
			return path[:i]
		}
	}
	return ""
}

// mostName bounds how much of a name or value is repeated in a message, in bytes.
const mostName = 60

// clip shortens a text for a message.
func clip(s string) string {
	if len(s) <= mostName {
		return s
	}
	return strings.ToValidUTF8(s[:mostName], "") + "..."
}

// segment returns the path of a name below path. A name with other characters than those
// of a field is quoted.
func segment(path, name string) string {
	plain := name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	if !plain || len(name) > mostName {
		return fmt.Sprintf("%s[%q]", path, clip(name))
	}
	return join(path, name)
}
