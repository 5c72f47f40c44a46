package httpkit

import "strings"

// tokenPunctuation is what a header's name may hold besides letters and digits
// (RFC 9110, section 5.6.2).
const tokenPunctuation = "!#$%&'*+-.^_`|~"

// maxHeaderText bounds the value of a header, in bytes.
const maxHeaderText = 16 << 10

// ValidHeaderName reports whether a header can have this name.
func ValidHeaderName(name string) bool {
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && strings.IndexByte(tokenPunctuation, c) < 0 {
			return false
		}
	}
	return name != ""
}

// ValidHeaderValue refuses what would end a header or change its meaning.
func ValidHeaderValue(value string) bool {
	for i := range len(value) {
		if c := value[i]; c != '\t' && (c < ' ' || c >= 0x7f) {
			return false
		}
	}
	return len(value) <= maxHeaderText && value == strings.TrimSpace(value)
}
