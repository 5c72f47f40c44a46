package schema

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxLen bounds a document, in bytes.
const MaxLen = 1 << 20

// Bounds of what a document may come to.
const (
	mostDepth  = 64         // levels of lists and mappings in each other
	mostSpread = 8 * MaxLen // bytes of all values, and valueCost for each, with aliases counted where they are used
	valueCost  = 8
)

// A document is a YAML or JSON text that could be parsed.
type document struct {
	root    *yaml.Node // nil: the document is empty
	oneLine bool
}

// syntax is how the YAML library says where and what: it has no type for that.
var syntax = regexp.MustCompile(`(?s)^(?:yaml: )?(?:line (\d+): )?(.*)$`)

func parse(data []byte) (*document, []Problem) {
	if len(data) > MaxLen {
		return nil, []Problem{{Message: fmt.Sprintf("it is larger than %d bytes", MaxLen)}}
	}
	d := &document{oneLine: bytes.IndexByte(bytes.TrimSpace(data), '\n') < 0}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var root, second yaml.Node
	switch err := dec.Decode(&root); {
	case errors.Is(err, io.EOF):
		return d, nil
	case err != nil:
		return nil, []Problem{d.syntaxError(err)}
	}
	switch err := dec.Decode(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		return nil, []Problem{d.syntaxError(err)}
	default:
		return nil, []Problem{{Line: second.Line, Message: "there is more than one document; remove the line --- and what follows it"}}
	}
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		d.root = root.Content[0]
	}
	return d, nil
}

func (d *document) syntaxError(err error) Problem {
	m := syntax.FindStringSubmatch(err.Error())
	p := Problem{Message: "it is neither YAML nor JSON: " + strings.ReplaceAll(m[2], "\n", " ")}
	if line, err := strconv.Atoi(m[1]); err == nil && !d.oneLine {
		p.Line = line
	}
	return p
}

// line returns the line of the name or list item at a path, or of the nearest that is
// there and holds it; 0 if the document has one line only.
func (d *document) line(path string) int {
	if d.oneLine || d.root == nil {
		return 0
	}
	n, at, line := d.root, "", d.root.Line
	for range mostDepth {
		below, p, l := stepTo(resolve(n), at, path)
		if below == nil {
			break
		}
		n, at, line = below, p, l
	}
	return line
}

// stepTo returns the value right below n, which is at a path, on the way to another path,
// with its own path and line.
func stepTo(n *yaml.Node, at, to string) (*yaml.Node, string, int) {
	switch {
	case n == nil || len(at) >= len(to):
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if p := segment(at, n.Content[i].Value); leads(p, to) {
				return n.Content[i+1], p, n.Content[i].Line
			}
		}
	case n.Kind == yaml.SequenceNode:
		index, _, _ := strings.Cut(strings.TrimPrefix(to[len(at):], "["), "]")
		if i, err := strconv.Atoi(index); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i], at + "[" + index + "]", n.Content[i].Line
		}
	}
	return nil, "", 0
}

// leads reports whether a path is the other one or one that holds it.
func leads(path, to string) bool {
	rest, ok := strings.CutPrefix(to, path)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// resolve returns what an alias stands for, nil if there is no end to them.
func resolve(n *yaml.Node) *yaml.Node {
	for range mostDepth {
		if n == nil || n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
	return nil
}
