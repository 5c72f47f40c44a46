package render

import "strings"

// A position is where in a text of a format one is, as far as it matters to values.
type position string

// places says where in a format a value can stand and be no more than a value.
type places struct {
	start  position
	ends   []position                         // where a template may end
	next   func(at position, c byte) position // behind one byte of text; "" where it cannot be
	values map[position]position              // where a value may stand, and what is behind it
	rule   string                             // for people
}

// join returns the position behind two branches. A field that is perhaps there is as one
// that is: nothing but a comma or the end of the line may follow.
func (p places) join(a, b position) (position, bool) {
	switch {
	case a == b:
		return a, true
	case a == afterValue && b == p.start || a == p.start && b == afterValue:
		return afterValue, true
	}
	return "", false
}

// anywhere is for formats whose escaped values are harmless wherever they are.
func anywhere() places {
	return places{
		start: "text", ends: []position{"text"}, values: map[position]position{"text": "text"},
		next: func(at position, _ byte) position { return at },
	}
}

func jsonPlaces() places {
	return places{
		start: "value", ends: []position{"value"}, values: map[position]position{"value": "value"},
		rule: "in json a value is a whole value and brings its quotes; it cannot be within a text",
		next: func(at position, c byte) position {
			switch {
			case at == "value" && c == '"':
				return "string"
			case at == "string" && c == '"', at == "value":
				return "value"
			case at == "string" && c == '\\':
				return "escape"
			}
			return "string"
		},
	}
}

const afterValue position = "after a value"

func csvPlaces() places {
	return places{
		start: "field", ends: []position{"field", "bare", "closed", afterValue}, values: map[position]position{"field": afterValue},
		rule: "in csv a value is a whole field and brings its quotes; a comma or the end of the line follows, and row makes a record of many",
		next: func(at position, c byte) position {
			switch {
			case at == "quoted":
				if c == '"' {
					return "closed"
				}
				return at
			case at == "closed" && c == '"', at == "field" && c == '"':
				return "quoted"
			case c == ',' || c == '\n':
				return "field"
			case c == '\r':
				return at
			case at == afterValue || at == "closed":
				return ""
			}
			return "bare"
		},
	}
}

func icsPlaces() places {
	return places{
		start: "name", ends: []position{"name", "value"}, values: map[position]position{"value": "value"},
		rule: "in ics a value stands behind the colon of its line",
		next: func(at position, c byte) position {
			switch {
			case c == '\n':
				return "name"
			case at == "name" && c == ':', at == "escape":
				return "value"
			case at == "name" && c == '"':
				return "parameter"
			case at == "parameter" && c == '"':
				return "name"
			case at == "value" && c == '\\':
				return "escape"
			}
			return at
		},
	}
}

func xmlPlaces() places {
	return places{
		start: "text", ends: []position{"text"},
		values: map[position]position{"text": "text", `tag"`: `tag"`, "tag'": "tag'"},
		rule:   "in xml a value stands in the text of an element, or in an attribute in quotes",
		next:   nextInXML,
	}
}

func nextInXML(at position, c byte) position {
	switch {
	case at == "text":
		if c == '<' {
			return "<"
		}
		return at
	case strings.HasPrefix(string(at), "<"):
		return opened(at + position(c))
	case at == "tag":
		return inTag(c)
	case at == `tag"` && c == '"', at == "tag'" && c == '\'':
		return "tag"
	}
	for begin, end := range map[string]string{"comment": "-->", "cdata": "]]>", "instruction": "?>"} {
		if seen, ok := strings.CutPrefix(string(at), begin); ok {
			for seen += string(rune(c)); !strings.HasPrefix(end, seen); {
				seen = seen[1:]
			}
			if seen == end {
				return "text"
			}
			return position(begin + seen)
		}
	}
	return at
}

// opened returns the position behind what began with <.
func opened(at position) position {
	switch {
	case at == "<!--":
		return "comment"
	case at == "<![CDATA[":
		return "cdata"
	case at == "<?":
		return "instruction"
	case strings.HasPrefix("<!--", string(at)), strings.HasPrefix("<![CDATA[", string(at)):
		return at
	}
	return inTag(at[len(at)-1])
}

func inTag(c byte) position {
	switch c {
	case '>':
		return "text"
	case '"', '\'':
		return position("tag" + string(rune(c)))
	}
	return "tag"
}
