package schema

import (
	"encoding/json"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// json appends a node as JSON to out, with its numbers as they are written where JSON can
// write them so. What it cannot write becomes null, and is noted.
func (d *decoder) json(path string, n *yaml.Node, out []byte, depth int) []byte {
	node := resolve(n)
	if node == nil {
		return append(out, "null"...)
	}
	// The node itself was counted by whoever asks for it.
	switch node.Kind {
	case yaml.MappingNode:
		out = append(out, '{')
		for i, e := range d.entries(path, node) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendText(out, e.name), ':')
			out = d.jsonBelow(segment(path, e.name), e.value, out, depth)
		}
		return append(out, '}')
	case yaml.SequenceNode:
		out = append(out, '[')
		for i, value := range node.Content {
			if d.spread > mostSpread {
				break
			}
			if i > 0 {
				out = append(out, ',')
			}
			out = d.jsonBelow(path+"["+strconv.Itoa(i)+"]", value, out, depth)
		}
		return append(out, ']')
	default:
		return d.jsonScalar(path, node, out)
	}
}

func (d *decoder) jsonBelow(path string, n *yaml.Node, out []byte, depth int) []byte {
	node := resolve(n)
	if node == nil || !d.enter(path, node, depth+1) {
		return append(out, "null"...)
	}
	return d.json(path, node, out, depth+1)
}

func (d *decoder) jsonScalar(path string, n *yaml.Node, out []byte) []byte {
	switch n.ShortTag() {
	case "!!null":
		return append(out, "null"...)
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return strconv.AppendBool(out, b)
		}
	case "!!int", "!!float":
		if json.Valid([]byte(n.Value)) {
			return append(out, n.Value...)
		}
		var i int64
		if n.Decode(&i) == nil {
			return strconv.AppendInt(out, i, 10)
		}
		var f float64
		if n.Decode(&f) == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return strconv.AppendFloat(out, f, 'g', -1, 64)
		}
		d.fail(path, "%s is not a number that JSON can write", quoted(n.Value))
		return append(out, "null"...)
	case "!!str", "!!timestamp":
		return appendText(out, n.Value)
	}
	d.fail(path, "tags such as %s are not used here", clip(n.Tag))
	return append(out, "null"...)
}

func appendText(out []byte, text string) []byte {
	data, err := json.Marshal(text)
	if err != nil {
		return append(out, `""`...)
	}
	return append(out, data...)
}
