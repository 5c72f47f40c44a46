package conncaldav

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep components may be in each other. An alarm in an event has 3.
const maxDepth = 8

// A component of iCalendar, with what is in it as it is written.
type component struct {
	name       string // upper case
	properties []property
	parts      []component
}

// A property is a content line, unfolded.
type property struct {
	name  string // upper case
	value string // as it is written, without parameters
	line  string // all of it
}

// parse reads iCalendar (RFC 5545, section 3.1) as far as its form goes: one component with
// components and properties in it. What properties mean is not looked at. The errors name a
// line and repeat nothing.
func parse(data []byte) (component, error) {
	var root component // holds the one component
	open := []*component{&root}
	err := eachLine(bytes.TrimPrefix(data, []byte("\ufeff")), func(number int, text string) error {
		p, err := parseLine(text)
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		top := open[len(open)-1]
		switch {
		case p.name == "BEGIN" && len(open) > maxDepth:
			return fmt.Errorf("line %d: there are more than %d components in each other", number, maxDepth)
		case p.name == "BEGIN" && len(open) == 1 && len(root.parts) > 0:
			return fmt.Errorf("line %d: something follows the first object", number)
		case p.name == "BEGIN":
			top.parts = append(top.parts, component{name: strings.ToUpper(p.value)})
			open = append(open, &top.parts[len(top.parts)-1])
		case len(open) == 1:
			return fmt.Errorf("line %d: it is in no component", number)
		case p.name == "END" && !strings.EqualFold(p.value, top.name):
			return fmt.Errorf("line %d: an END that does not fit the last BEGIN", number)
		case p.name == "END":
			open = open[:len(open)-1]
		default:
			top.properties = append(top.properties, p)
		}
		return nil
	})
	switch {
	case err != nil:
		return component{}, err
	case len(open) > 1:
		return component{}, errors.New("a component has no END")
	case len(root.parts) == 0:
		return component{}, errors.New("it is empty")
	}
	return root.parts[0], nil
}

// eachLine calls f for each content line, unfolded, with the number of its first line.
func eachLine(data []byte, f func(number int, text string) error) error {
	var line []byte
	number, first := 0, 0
	end := func() error {
		if len(line) == 0 {
			return nil
		}
		err := f(first, string(line))
		line = line[:0]
		return err
	}
	for raw := range bytes.Lines(data) {
		number++
		raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
		if len(raw) > 0 && (raw[0] == ' ' || raw[0] == '\t') {
			if len(line) == 0 {
				return fmt.Errorf("line %d: it goes on with nothing", number)
			}
			line = append(line, raw[1:]...)
			continue
		}
		if err := end(); err != nil {
			return err
		}
		first, line = number, append(line, raw...)
	}
	return end()
}

func parseLine(text string) (p property, err error) {
	if !utf8.ValidString(text) {
		return p, errors.New("it is not UTF-8")
	}
	if strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) >= 0 {
		return p, errors.New("it has a control character")
	}
	rest := strings.TrimLeft(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-")
	p.name, p.line = strings.ToUpper(text[:len(text)-len(rest)]), text
	if p.name == "" || rest == "" || rest[0] != ':' && rest[0] != ';' {
		return p, errors.New("it has no name of a property in front")
	}
	quoted := false
	for i := range len(rest) {
		switch {
		case rest[i] == '"':
			quoted = !quoted
		case rest[i] == ':' && !quoted:
			p.value = rest[i+1:]
			return p, nil
		}
	}
	return p, errors.New("it has no value")
}

// first returns the value of the first property with a name.
func (c *component) first(name string) (value string, ok bool) {
	for i := range c.properties {
		if c.properties[i].name == name {
			return c.properties[i].value, true
		}
	}
	return "", false
}

// maxLine is how long a line may be before it is folded, in bytes.
const maxLine = 75

// appendTo appends the component as it is sent.
func (c *component) appendTo(out []byte) []byte {
	out = appendLine(out, "BEGIN:"+c.name)
	for i := range c.properties {
		out = appendLine(out, c.properties[i].line)
	}
	for i := range c.parts {
		out = c.parts[i].appendTo(out)
	}
	return appendLine(out, "END:"+c.name)
}

// appendLine folds a line between characters.
func appendLine(out []byte, line string) []byte {
	for room := maxLine; len(line) > room; room = maxLine - 1 { // a space stands in front of what follows
		at := room
		for !utf8.RuneStart(line[at]) {
			at--
		}
		out = append(out, line[:at]...)
		out = append(out, "\r\n "...)
		line = line[at:]
	}
	out = append(out, line...)
	return append(out, "\r\n"...)
}

// written returns a property that has no parameters.
func written(name, value string) property { return property{name, value, name + ":" + value} }
