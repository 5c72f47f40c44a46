package render

import (
	"bytes"
	"encoding/xml"
	"strings"
	"unicode/utf8"
)

// xmlText escapes for the text of an element, and for an attribute. XML 1.0 has no way to
// write some characters: a text with one of them fails, or the target would hold another
// one than was sent.
func xmlText(v any) (string, error) {
	text, err := plainText(v)
	if err != nil {
		return "", err
	}
	if i := strings.IndexFunc(text, notInXML); i >= 0 {
		r, _ := utf8.DecodeRuneInString(text[i:])
		return "", fault("XML has no character %U", r)
	}
	var out strings.Builder
	if err := xml.EscapeText(&out, []byte(text)); err != nil {
		return "", fault("XML cannot write it")
	}
	return out.String(), nil
}

func notInXML(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
}

// icsText escapes a TEXT of RFC 5545. It has no control characters but tabs, and one way
// to end a line.
func icsText(v any) (string, error) {
	text, err := plainText(v)
	if err != nil {
		return "", err
	}
	text = strings.ReplaceAll(rejoin(text, "\n"), "\r", "\n")
	if i := strings.IndexFunc(text, notInICS); i >= 0 {
		return "", fault("iCalendar has no character %U", text[i])
	}
	return strings.NewReplacer(`\`, `\\`, ";", `\;`, ",", `\,`, "\n", `\n`).Replace(text), nil
}

func notInICS(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7F }

// mostOctets is how long a line of RFC 5545 is, without its end.
const mostOctets = 75

// foldLines ends lines as RFC 5545 wants it, and folds those that are long between
// characters. There are no empty lines in it.
func foldLines(w *run) error {
	text := bytes.Clone(w.out.Bytes())
	w.out.Reset()
	for line := range bytes.Lines(text) {
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			continue
		}
		for most := mostOctets; len(line) > most; most = mostOctets - 1 { // a space is in front of what goes on
			end := most
			for end > most-utf8.UTFMax && !utf8.RuneStart(line[end]) {
				end--
			}
			if _, err := w.write(append(line[:end:end], "\r\n "...)); err != nil {
				return err
			}
			line = line[end:]
		}
		if _, err := w.write(append(line[:len(line):len(line)], "\r\n"...)); err != nil {
			return err
		}
	}
	return nil
}
