package schema

import (
	"go.yaml.in/yaml/v3"
)

// An entry is a name of a mapping, with its value.
type entry struct {
	name  string
	value *yaml.Node
}

// entries returns what a mapping says, with what it merges in (<<) behind its own. It
// notes names that come twice or are no texts.
func (d *decoder) entries(path string, n *yaml.Node) []entry {
	var out []entry
	var merged []*yaml.Node
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := resolve(key)
		switch {
		case name == nil || name.Kind != yaml.ScalarNode:
			d.fail(path, "each name must be a text")
		case name.ShortTag() == "!!merge":
			merged = append(merged, value)
		case seen[name.Value]:
			line := key.Line
			if d.oneLine {
				line = 0
			}
			d.problems = append(d.problems, Problem{Line: line, Path: segment(path, name.Value), Message: "it is there twice"})
		default:
			seen[name.Value] = true
			out = append(out, entry{name.Value, value})
		}
	}
	for _, value := range merged {
		for _, e := range d.merge(path, value) {
			if !seen[e.name] {
				seen[e.name] = true
				out = append(out, e)
			}
		}
	}
	return out
}

// merge returns what << stands for: a mapping, or a list of them of which the first that
// has a name wins.
func (d *decoder) merge(path string, n *yaml.Node) []entry {
	node := resolve(n)
	if node == nil || !d.enter(path, node, len(d.merging)) {
		return nil
	}
	var out []entry
	switch node.Kind {
	case yaml.MappingNode:
		d.merging = append(d.merging, node)
		out = d.entries(path, node)
		d.merging = d.merging[:len(d.merging)-1]
	case yaml.SequenceNode:
		for _, one := range node.Content {
			if m := resolve(one); m == nil || m.Kind != yaml.MappingNode {
				d.fail(path, "<< takes a mapping, or a list of mappings")
				continue
			}
			out = append(out, d.merge(path, one)...)
		}
	default:
		d.fail(path, "<< takes a mapping, or a list of mappings")
	}
	return out
}
