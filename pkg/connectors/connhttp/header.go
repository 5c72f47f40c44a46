package connhttp

import "strings"

// tokenPunctuation is what a header's name may hold besides letters and digits
// (RFC 9110, section 5.6.2).
const tokenPunctuation = "!#$%&'*+-.^_`|~"

func validHeaderName(name string) bool {
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && strings.IndexByte(tokenPunctuation, c) < 0 {
			return false
		}
	}
	return name != ""
}

// validHeaderValue refuses what would end the header or change its meaning.
func validHeaderValue(value string) bool {
	for i := range len(value) {
		if c := value[i]; c != '\t' && (c < ' ' || c >= 0x7f) {
			return false
		}
	}
	return len(value) <= maxHeaderText && value == strings.TrimSpace(value)
}
