package jq

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/itchyny/gojq"
)

// gojq finds all matches in one step, counts the characters before each from the
// beginning of the text, keeps every regular expression that it has ever seen, and
// puts a text together piece by piece. Here one match is looked for after the
// other, within what text and regular expression cost together.

// The functions that stand in for those of gojq.
const (
	testFunc    = reserved + "test"
	matchFunc   = reserved + "match"
	captureFunc = reserved + "capture"
	scanFunc    = reserved + "scan"
	piecesFunc  = reserved + "pieces"
	cutFunc     = reserved + "cut"
	cutAllFunc  = reserved + "cut_all"
	pasteFunc   = reserved + "paste"
)

func regexps() []gojq.CompilerOption {
	c := &cache{}
	all := func(name string, always bool, f func(s *search) any) gojq.CompilerOption {
		return metered(name, 2, func(m *meter, in any, args []any) any {
			s, err := c.search(m, in, args[0], args[1])
			switch {
			case err != nil:
				return err
			case s == nil:
				return exceeded()
			}
			s.all = s.all || always
			return passed(f(s), m.over == nil && !s.cut)
		})
	}
	return []gojq.CompilerOption{
		all(testFunc, false, func(s *search) any { return s.first.MatchString(s.text) }),
		all(matchFunc, false, (*search).matches),
		all(captureFunc, false, (*search).captures),
		all(scanFunc, true, (*search).scan),
		all(piecesFunc, true, (*search).pieces),
		all(cutFunc, false, (*search).cuts),
		all(cutAllFunc, true, (*search).cuts),
		metered(pasteFunc, 2, paste),
	}
}

// A matcher is a compiled regular expression.
type matcher struct {
	first *regexp.Regexp
	names []string
	cost  int // the instructions of it, about

	once sync.Once
	// next looks behind one character for a match further on, so that "^" and "\b"
	// know where they are. Its first group is the match.
	next    *regexp.Regexp
	pattern string
}

// A search is one text in which a regular expression is looked for.
type search struct {
	*matcher
	m    *meter
	text string
	all  bool
	cut  bool // the run has ended before all was found
}

// maxKept is how many regular expressions a program keeps. They can come from the
// input.
const maxKept = 64

type cache struct {
	mu   sync.Mutex
	kept map[[2]string]*matcher
}

// search returns nil if it would cost too much.
func (c *cache) search(m *meter, in, re, flags any) (*search, error) {
	if flags == false { // it may be [regexp, flags]
		flags = nil
		if both, ok := re.([]any); ok {
			re = nil
			if len(both) > 0 {
				re = both[0]
			}
			if len(both) > 1 {
				flags = both[1]
			}
		}
	}
	text, ok := in.(string)
	pattern, ok2 := re.(string)
	set, ok3 := flags.(string)
	if !ok || !ok2 || !ok3 && flags != nil {
		return nil, notOf("a regular expression", in)
	}
	if len(pattern) > maxRegexp {
		return nil, nil
	}
	found, err := c.compile(pattern, set)
	if err != nil || found == nil || len(text) > maxSearch/found.cost {
		return nil, err
	}
	return &search{matcher: found, m: m, text: text, all: strings.Contains(set, "g")}, nil
}

// compile returns nil if the regular expression is too large.
func (c *cache) compile(pattern, flags string) (*matcher, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := [2]string{pattern, flags}
	if m := c.kept[key]; m != nil {
		return m, nil
	}
	if strings.Trim(flags, "gim") != "" {
		return nil, errors.New("unsupported regular expression flag")
	}
	if strings.Contains(flags, "i") {
		pattern = "(?i)" + pattern
	}
	if strings.Contains(flags, "m") {
		pattern = "(?s)" + pattern
	}
	tree, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, errors.New("invalid regular expression")
	}
	cost := instructions(tree)
	if cost > maxRegexp {
		return nil, nil
	}
	first, err := regexp.Compile(pattern)
	if err != nil {
		return nil, errors.New("invalid regular expression")
	}
	m := &matcher{first: first, names: first.SubexpNames(), cost: cost, pattern: pattern}
	if len(c.kept) >= maxKept || c.kept == nil {
		c.kept = map[[2]string]*matcher{}
	}
	c.kept[key] = m
	return m, nil
}

// instructions is about how many a regular expression has, at most a little over
// maxRegexp: each is looked at for each character of a text.
func instructions(tree *syntax.Regexp) int {
	n := 1 + len(tree.Rune)
	for _, sub := range tree.Sub {
		if n += instructions(sub); n > maxRegexp {
			return n
		}
	}
	if tree.Op == syntax.OpRepeat {
		n *= max(1, tree.Min, tree.Max)
	}
	return n
}

// after finds the first match from a place on. It returns nil if there is none.
func (s *search) after(at int) []int {
	if at == 0 {
		return s.first.FindStringSubmatchIndex(s.text)
	}
	s.once.Do(func() {
		if r, err := regexp.Compile(`\A(?s:.)(?s:.*?)(` + s.pattern + `)`); err == nil {
			s.next = r
		}
	})
	if s.next == nil {
		return nil
	}
	_, behind := utf8.DecodeLastRuneInString(s.text[:at])
	found := s.next.FindStringSubmatchIndex(s.text[at-behind:])
	if found == nil {
		return nil
	}
	found = found[2:]
	for i := range found {
		if found[i] >= 0 {
			found[i] += at - behind
		}
	}
	return found
}

// each calls f with each match, until the run may not go on. Unlike Go, jq also
// gives an empty match right behind another one.
func (s *search) each(f func(match []int)) {
	for at, n := 0, 0; at <= len(s.text); {
		match := s.after(at)
		if match == nil {
			return
		}
		if n++; n > maxFound {
			s.m.over = fmt.Errorf("%w: a regular expression has more than %d matches", ErrBounds, maxFound)
			return
		}
		// A match may have looked at all of the text.
		if !s.m.make(entrySize+nodeSize*len(match)) || (len(s.text) > maxBrief || n%lookEvery == 0) && !s.m.look() {
			s.cut = true
			return
		}
		f(match)
		if !s.all {
			return
		}
		if at = match[1]; match[0] == match[1] {
			_, width := utf8.DecodeRuneInString(s.text[at:])
			at += max(width, 1)
		}
	}
}

// A counter counts the characters up to places that come in order.
type counter struct {
	text      string
	at, runes int
}

func (c *counter) upTo(place int) int {
	if place < c.at {
		return utf8.RuneCountInString(c.text[:place])
	}
	c.runes += utf8.RuneCountInString(c.text[c.at:place])
	c.at = place
	return c.runes
}

func (s *search) matches() any {
	out, c := []any{}, counter{text: s.text}
	s.each(func(m []int) {
		groups := make([]any, 0, len(m)/2-1)
		one := map[string]any{"offset": c.upTo(m[0]), "length": utf8.RuneCountInString(s.text[m[0]:m[1]]), "string": s.text[m[0]:m[1]]}
		for i := 2; i < len(m); i += 2 {
			group := map[string]any{"name": nil, "offset": -1, "length": 0, "string": nil}
			if name := s.names[i/2]; name != "" {
				group["name"] = name
			}
			if m[i] >= 0 {
				behind := utf8.RuneCountInString(s.text[m[0]:m[i]])
				group["offset"] = c.runes + behind
				group["length"] = utf8.RuneCountInString(s.text[m[i]:m[i+1]])
				group["string"] = s.text[m[i]:m[i+1]]
			}
			groups = append(groups, group)
		}
		one["captures"] = groups
		s.m.make(8 * entrySize * (1 + len(groups)))
		out = append(out, one)
	})
	return out
}

// none are the captures of a regular expression without names.
//
//nolint:gochecknoglobals // a constant that the language cannot express as one
var none = map[string]any{}

// named returns the captures of a match that have names.
func (s *search) named(m []int) map[string]any {
	out := none
	for i, name := range s.names {
		if name == "" {
			continue
		}
		if len(out) == 0 {
			out = map[string]any{}
		}
		if out[name] = nil; m[2*i] >= 0 {
			out[name] = s.text[m[2*i]:m[2*i+1]]
		}
	}
	s.m.make(8 * entrySize * len(out))
	return out
}

func (s *search) captures() any {
	out := []any{}
	s.each(func(m []int) { out = append(out, s.named(m)) })
	return out
}

func (s *search) scan() any {
	out := []any{}
	s.each(func(m []int) {
		if len(m) == 2 {
			out = append(out, s.text[m[0]:m[1]])
			return
		}
		groups := make([]any, 0, len(m)/2-1)
		for i := 2; i < len(m); i += 2 {
			var group any
			if m[i] >= 0 {
				group = s.text[m[i]:m[i+1]]
			}
			groups = append(groups, group)
		}
		out = append(out, groups)
	})
	return out
}

func (s *search) pieces() any {
	out, at := []any{}, 0
	s.each(func(m []int) {
		out = append(out, s.text[at:m[0]])
		at = m[1]
	})
	return append(out, s.text[at:])
}

// cuts gives a list, which has for each match the text before it and its captures,
// and the text after the last one.
func (s *search) cuts() any {
	out, at := []any{}, 0
	s.each(func(m []int) {
		out = append(out, []any{s.text[at:m[0]], s.named(m)})
		at = m[1]
	})
	return []any{out, s.text[at:]}
}

// paste gives the texts in which matches are replaced. A match can have several
// replacements: the first text has the first of each, and so on.
func paste(m *meter, in any, args []any) any {
	found, _ := args[0].([]any)
	others, _ := args[1].([]any)
	cuts, _ := found[0].([]any)
	after, _ := found[1].(string)
	texts := []*strings.Builder{}
	for i, cut := range cuts {
		before, _ := cut.([]any)[0].(string)
		with, _ := others[i].([]any)
		for k, other := range with {
			text, ok := other.(string)
			if !ok && other != nil {
				return notOf("a text is added, which", other)
			}
			if !m.make(len(before) + len(text)) {
				return exceeded()
			}
			if k == len(texts) {
				texts = append(texts, &strings.Builder{})
			}
			texts[k].WriteString(before)
			texts[k].WriteString(text)
		}
	}
	if len(texts) == 0 {
		return []any{in}
	}
	out := make([]any, len(texts))
	for k, text := range texts {
		if !m.make(len(after)) {
			return exceeded()
		}
		text.WriteString(after)
		out[k] = text.String()
	}
	return out
}
