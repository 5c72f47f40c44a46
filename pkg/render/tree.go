package render

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
)

// templateName is what text/template calls the template in its errors.
const templateName = "render"

// parseTemplate returns a template whose values are escaped for the format.
func parseTemplate(text string, f format, variables []string) (*template.Template, error) {
	known := map[string]any{}
	for _, name := range builtins() {
		known[name] = true
	}
	functions := (&run{Renderer: &Renderer{format: f}}).functions()
	maps.Copy(known, functions)
	// Attributes are declared in the first line, so that lines keep their numbers.
	var declared strings.Builder
	for i, name := range variables {
		if strings.Contains(text, name) {
			declared.WriteString("{{" + name + " := " + attributeFunction + " " + strconv.Itoa(i) + "}}")
		}
	}
	trees, err := parse.Parse(templateName, declared.String()+text, "", "", known)
	if err != nil {
		return nil, parseError(err)
	}
	tree := trees[templateName]
	if len(trees) != 1 || tree == nil {
		return nil, errors.New("a template defines no other")
	}
	w := rewriter{format: f, tree: tree}
	end, err := w.list(tree.Root, f.places.start)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(f.places.ends, end) {
		return nil, errors.New("at its end something is open: " + f.places.rule)
	}
	return template.New(templateName).Option("missingkey=zero").Funcs(functions).AddParseTree(templateName, tree)
}

func parseError(err error) error {
	if parts := place.FindStringSubmatch(err.Error()); parts != nil {
		return fmt.Errorf("line %s: %s", parts[1], parts[3])
	}
	return err
}

// A rewriter goes through a template. It has each value escaped, makes each turn of a loop
// count, and refuses values in places where they could become more than a value.
type rewriter struct {
	format format
	tree   *parse.Tree
}

func (w *rewriter) refuse(node parse.Node, why string) error {
	where, _ := w.tree.ErrorContext(node)
	parts := strings.Split(where, ":")
	return fmt.Errorf("line %s: %s: %s", parts[min(1, len(parts)-1)], node, why)
}

// list goes through nodes from a place on, and returns the place behind them.
func (w *rewriter) list(l *parse.ListNode, at position) (position, error) {
	if l == nil {
		return at, nil
	}
	var err error
	for _, node := range l.Nodes {
		switch node := node.(type) {
		case *parse.TextNode:
			at, err = w.text(node, at)
		case *parse.ActionNode:
			at, err = w.action(node, at)
		case *parse.IfNode:
			at, err = w.branches(&node.BranchNode, at)
		case *parse.WithNode:
			at, err = w.branches(&node.BranchNode, at)
		case *parse.RangeNode:
			at, err = w.loop(node, at)
		case *parse.CommentNode:
		default:
			err = w.refuse(node, "templates do not call each other, and a loop has no break")
		}
		if err != nil {
			return "", err
		}
	}
	return at, nil
}

func (w *rewriter) text(node *parse.TextNode, at position) (position, error) {
	if w.format.lineEnd != "" {
		node.Text = []byte(rejoin(string(node.Text), w.format.lineEnd))
	}
	for _, c := range node.Text {
		if at = w.format.places.next(at, c); at == "" {
			return "", w.refuse(node, w.format.places.rule)
		}
	}
	return at, nil
}

func (w *rewriter) action(node *parse.ActionNode, at position) (position, error) {
	if len(node.Pipe.Decl) > 0 { // it prints nothing
		return at, nil
	}
	last := node.Pipe.Cmds[len(node.Pipe.Cmds)-1]
	if name, ok := last.Args[0].(*parse.IdentifierNode); !ok || name.Ident != "raw" {
		next, allowed := w.format.places.values[at]
		if !allowed {
			return "", w.refuse(node, w.format.places.rule)
		}
		at = next
	}
	node.Pipe.Cmds = append(node.Pipe.Cmds, &parse.CommandNode{
		NodeType: parse.NodeCommand, Pos: node.Pos,
		Args: []parse.Node{parse.NewIdentifier(printFunction).SetPos(node.Pos)},
	})
	return at, nil
}

func (w *rewriter) branches(node *parse.BranchNode, at position) (position, error) {
	one, err := w.list(node.List, at)
	if err != nil {
		return "", err
	}
	other, err := w.list(node.ElseList, at)
	if err != nil {
		return "", err
	}
	if both, ok := w.format.places.join(one, other); ok {
		return both, nil
	}
	return "", w.refuse(node.Pipe, "its branches end in different places: "+w.format.places.rule)
}

func (w *rewriter) loop(node *parse.RangeNode, at position) (position, error) {
	end, err := w.list(node.List, at)
	if err != nil {
		return "", err
	}
	if end != at {
		return "", w.refuse(node.Pipe, "a turn of the loop ends in another place than it began in: "+w.format.places.rule)
	}
	node.List.Nodes = slices.Insert(node.List.Nodes, 0, parse.Node(&parse.TextNode{NodeType: parse.NodeText, Pos: node.Pos}))
	other, err := w.list(node.ElseList, at)
	if err != nil {
		return "", err
	}
	if both, ok := w.format.places.join(end, other); ok {
		return both, nil
	}
	return "", w.refuse(node.Pipe, "its branches end in different places: "+w.format.places.rule)
}
