package cli

import (
	"errors"
	"strings"
	"testing"
)

func TestCSVSeparators(t *testing.T) {
	for separator, header := range map[string]string{`\t`: "key\tversion\n", "\t": "key\tversion\n", ";": "key;version\n", "ü": "keyüversion\n"} {
		f := importFlags{csv: true, separator: separator}
		f.columns.Key, f.columns.Version = "key", "version"
		if _, line, _, err := f.header(&importInput{in: strings.NewReader(header)}, "in"); err != nil || line != 1 {
			t.Errorf("%q: %d lines, %v", separator, line, err)
		}
	}
	for _, separator := range []string{"", ",,", `\n`, "\n", `"`, "\xff"} {
		f := importFlags{csv: true, separator: separator}
		if _, _, _, err := f.header(&importInput{in: strings.NewReader("key,version\n")}, "in"); !errors.Is(err, errUsage) {
			t.Errorf("%q: %v", separator, err)
		}
	}
}
