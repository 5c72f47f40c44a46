package connectors

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode"
	"unicode/utf8"
)

const (
	// Hidden is what stands in place of a secret.
	Hidden = "***"
	// shortSecret is the length up to which a secret is hidden only where it is a word
	// by itself, in bytes: it would else spoil ordinary words.
	shortSecret = 3
	// keptTokens is how many passing secrets are known, besides those of the
	// configuration: one in use, and some that calls in flight still have.
	keptTokens = 4
	// secretLine is the length from which a line of a secret with several, as a key in
	// PEM has them, is one by itself.
	secretLine = 16
	// wholeSecret is the length up to which a secret with several lines is looked for as a
	// whole, too: looking for a longer one would cost each excerpt more than it is worth.
	wholeSecret = 4 << 10
)

// A Scrubber takes secrets out of texts. It is safe for concurrent use; a nil one
// knows none. A text that comes from outside is to be scrubbed before it is cut.
type Scrubber struct {
	mu     sync.Mutex
	values map[string]struct{}
	tokens []string
	known  atomic.Pointer[known]
}

// known is what a Scrubber looks for. It is immutable.
type known struct {
	replacer *strings.Replacer
	long     []string // longest first, so that one which contains another is hidden whole
	short    []string
}

// Add makes values known, and the forms that they have in URLs, JSON and base64.
func (s *Scrubber) Add(values ...string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.values == nil {
		s.values = map[string]struct{}{}
	}
	for _, v := range values {
		for _, form := range forms(v) {
			if form != "" {
				s.values[form] = struct{}{}
			}
		}
	}
	s.rebuild()
}

// AddToken makes a secret known that is replaced from time to time. Only the last few
// are remembered.
func (s *Scrubber) AddToken(token string) {
	if s == nil || token == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens = append(s.tokens, token)
	s.tokens = s.tokens[max(0, len(s.tokens)-keptTokens):]
	s.rebuild()
}

// forms returns how a value may be written: as a whole, unless it is long, and each of
// its lines.
func forms(value string) []string {
	value = strings.TrimSpace(value)
	parts := []string{value}
	if strings.Contains(value, "\n") {
		if len(value) > wholeSecret {
			parts = nil
		}
		for line := range strings.Lines(value) {
			if line = strings.TrimSpace(line); len(line) >= secretLine && !strings.HasPrefix(line, "-----") {
				parts = append(parts, line)
			}
		}
	}
	var out []string
	for _, part := range parts {
		query, quoted := url.QueryEscape(part), strconv.Quote(part)
		out = append(out, part, query, strings.ReplaceAll(query, "+", "%20"), url.PathEscape(part),
			base64.StdEncoding.EncodeToString([]byte(part)), quoted[1:len(quoted)-1])
		if text, err := json.Marshal(part); err == nil {
			out = append(out, string(text[1:len(text)-1]))
		}
	}
	return out
}

// rebuild is called with mu held.
func (s *Scrubber) rebuild() {
	k := &known{}
	for _, v := range slices.Concat(slices.Sorted(maps.Keys(s.values)), s.tokens) {
		if len(v) > shortSecret {
			k.long = append(k.long, v)
		} else {
			k.short = append(k.short, v)
		}
	}
	slices.SortStableFunc(k.long, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(k.long))
	for _, v := range k.long {
		pairs = append(pairs, v, Hidden)
	}
	k.replacer = strings.NewReplacer(pairs...)
	s.known.Store(k)
}

// Text returns a text without secrets.
func (s *Scrubber) Text(text string) string {
	if s == nil || text == "" {
		return text
	}
	k := s.known.Load()
	if k == nil {
		return text
	}
	if len(k.long) > 0 {
		text = k.replacer.Replace(text)
	}
	for _, v := range k.short {
		text = hideWord(text, v)
	}
	return text
}

// hideWord hides a word where no letter or digit is beside it.
func hideWord(text, word string) string {
	inWord := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return text
		}
		i += at
		before, _ := utf8.DecodeLastRuneInString(text[:i])
		after, _ := utf8.DecodeRuneInString(text[i+len(word):])
		if at = i + len(word); inWord(before) || inWord(after) {
			continue
		}
		text = text[:i] + Hidden + text[at:]
		at = i + len(Hidden)
	}
}

// Excerpt returns the beginning of what a target says for people to read: valid UTF-8
// of at most so many bytes, without secrets and control characters. goesOn says that
// the body is not all of it: no part of a secret is left at its end then.
func (s *Scrubber) Excerpt(body []byte, most int, goesOn bool) string {
	if len(body) == 0 {
		return ""
	}
	text := strings.ToValidUTF8(s.beginning(body, most, goesOn), "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return ' '
		}
		return r
	}, text)
	return Clip(text, most)
}

// beginning returns what of a body is enough for an excerpt, without secrets.
func (s *Scrubber) beginning(body []byte, most int, goesOn bool) string {
	var long []string
	if s != nil && s.known.Load() != nil {
		long = s.known.Load().long
	}
	longest := 0
	if len(long) > 0 {
		longest = len(long[0])
	}
	enough := min(len(body), most+longest)
	text := s.Text(string(body[:enough]))
	if enough == len(body) && !goesOn {
		return text
	}
	keep := len(text)
	for _, v := range long {
		keep = min(keep, withoutBeginning(text, v))
	}
	return text[:keep]
}

// withoutBeginning returns how long a text is without the beginning of a secret at
// its end.
func withoutBeginning(text, secret string) int {
	for n := min(len(secret)-1, len(text)); n > 0; n-- {
		if strings.HasSuffix(text, secret[:n]) {
			return len(text) - n
		}
	}
	return len(text)
}

// Clip cuts a text to at most so many bytes, between two characters.
func Clip(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return strings.Clone(text[:most])
}

// scrubbed is an error whose text had secrets in it. Its causes cannot be reached, only
// recognised.
type scrubbed struct {
	text  string
	cause error
}

func (e *scrubbed) Error() string        { return e.text }
func (e *scrubbed) Is(target error) bool { return errors.Is(e.cause, target) }

// Error returns an error without secrets: err itself if its text has none, else one
// with its class and the text that is left.
func (s *Scrubber) Error(err error) error {
	if err == nil {
		return nil
	}
	said := err.Error()
	text := s.Text(said)
	if text == said {
		return err
	}
	var e *Error
	if errors.As(err, &e) {
		return &Error{Class: e.Class, Code: s.Text(e.Code), Err: &scrubbed{s.Text(e.Err.Error()), err}}
	}
	return &scrubbed{text, err}
}
