package deadletters

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A group is named by the first 16 hexadecimal digits of a SHA-256: nobody can make the
// letters of one pass as those of another by what a target answers.
const groupDigits = 16

// Pattern returns the message of a letter without what differs from one letter to the next:
// two letters with the same pattern fail for the same reason. Of the text
//
//   - a part in quotes ("..", '..' or `..`) becomes "?", quotes and all;
//   - a word with a digit in it becomes "#": a number, a key, a time, an address, a UUID; and
//     so do hexadecimal digits, if there are eight of them or more;
//   - such words that follow each other, with nothing between them but one of . , : / +,
//     become one "#";
//   - white space becomes one space.
//
// A word is a row of letters, digits, "-" and "_". Everything else stays, also upper case.
func Pattern(message string) string {
	var b strings.Builder
	b.Grow(len(message))
	var last byte // what was written last
	emit := func(text string) {
		if text != "" {
			b.WriteString(text)
			last = text[len(text)-1]
		}
	}
	joint := "" // between a "#" and what follows it
	for message != "" {
		r, size := utf8.DecodeRuneInString(message)
		switch {
		case isWord(r):
			word := message[:wordLen(message)]
			message = message[len(word):]
			if !isID(word) {
				emit(joint)
				emit(word)
			} else if last != '#' {
				emit("#")
			}
			joint = ""
			continue
		case unicode.IsSpace(r):
			emit(joint)
			joint = ""
			message = strings.TrimLeftFunc(message, unicode.IsSpace)
			if message != "" && b.Len() > 0 {
				emit(" ")
			}
			continue
		}
		emit(joint)
		joint = ""
		if n := quoted(message, last); n > 0 {
			emit("?")
			message = message[n:]
			continue
		}
		if last == '#' && strings.ContainsRune(".,:/+", r) {
			joint = message[:size]
		} else {
			emit(message[:size])
		}
		message = message[size:]
	}
	emit(joint)
	return b.String()
}

func isWord(r rune) bool {
	return r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

func wordLen(s string) int {
	if end := strings.IndexFunc(s, func(r rune) bool { return !isWord(r) }); end >= 0 {
		return end
	}
	return len(s)
}

// hexDigits is from how many on a word of hexadecimal digits is an id, though it has letters
// only.
const hexDigits = 8

func isID(word string) bool {
	if strings.ContainsFunc(word, unicode.IsDigit) {
		return true
	}
	return len(word) >= hexDigits && !strings.ContainsFunc(word, func(r rune) bool { return !strings.ContainsRune("abcdefABCDEF", r) })
}

// quoted returns how long the part in quotes is that a text begins with; 0 if it begins with
// none. An apostrophe inside a word is no quote. last is the byte before the text.
func quoted(text string, last byte) int {
	quote := text[0]
	if quote != '"' && quote != '\'' && quote != '`' || last == '\\' {
		return 0
	}
	if quote == '\'' && (last >= 'a' && last <= 'z' || last >= 'A' && last <= 'Z') {
		return 0
	}
	for from := 1; ; {
		n := strings.IndexByte(text[from:], quote)
		if n < 0 {
			return 0
		}
		end := from + n + 1
		next, _ := utf8.DecodeRuneInString(text[end:])
		if text[end-2] != '\\' && (quote != '\'' || end == len(text) || !unicode.IsLetter(next)) {
			return end
		}
		from = end
	}
}

// group returns the name of the group that a letter belongs to: of all letters of a channel
// with the same outcome, class, code and Pattern.
func (l *letter) group() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{l.Channel, string(l.Outcome), l.Class, l.Code, Pattern(l.Reason)}, "\x00")))
	return hex.EncodeToString(sum[:])[:groupDigits]
}

// isGroup reports whether a text can be the name of a group.
func isGroup(text string) bool {
	return len(text) == groupDigits && !strings.ContainsFunc(text, func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) })
}
