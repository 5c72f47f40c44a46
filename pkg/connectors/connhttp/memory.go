package connhttp

import (
	"context"
	"maps"
	"slices"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A memory is one value of an answer that is remembered.
type memory struct {
	name  string
	value *rule
}

// compileMemories returns the values in the order of their names. p is told of every bad
// one.
func compileMemories(path string, list map[string]string, p *connectors.Problems) []memory {
	var out []memory
	for _, name := range slices.Sorted(maps.Keys(list)) {
		if err := checkRefName(name); err != nil {
			p.Add(path, "%v", err)
		}
		value, err := compileRule(list[name])
		switch {
		case err != nil:
			p.Add(path+"."+name, "%v", err)
		case value == nil:
			p.Add(path+"."+name, "it is missing")
		}
		out = append(out, memory{name, value})
	}
	return out
}

// memorize returns the values that an answer gives; nil if there are none that can be
// kept. Control characters, and values with a secret in them, cannot.
func (c *connector) memorize(ctx context.Context, list []memory, input any) connectors.Refs {
	var out connectors.Refs
	for _, m := range list {
		value, err := m.value.eval(ctx, input)
		if err != nil || value == nil {
			continue
		}
		text := textOf(value)
		if text == "" && value != "" || (connectors.Refs{m.name: text}).Check() != nil || c.scrubber.Text(text) != text {
			continue
		}
		if out == nil {
			out = connectors.Refs{}
		}
		out[m.name] = text
	}
	if out.Check() != nil {
		return nil
	}
	return out
}

// codeNotRemembered is the code of an upsert that was delivered, and whose answer gave
// nothing that can be kept of what the next one wants: that one is a create again.
const codeNotRemembered = "not_remembered"
