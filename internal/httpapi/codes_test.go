package httpapi_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
)

// Every status of a problem is in the table of codes: 405 was in none.
func TestStatusCodesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/http-api.md")
	testkit.Must(t, err)
	_, table, _ := strings.Cut(string(page), "## Status codes")
	table, _, _ = strings.Cut(table, "\n## ")
	documented := map[string]bool{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, code := range regexp.MustCompile(`\d{3}`).FindAllString(cells[1], -1) {
			documented[code] = true
		}
	}
	codes := map[string]int{}
	for code := 300; code < 600; code++ {
		codes["Status"+strings.NewReplacer(" ", "", "-", "", "'", "").Replace(http.StatusText(code))] = code
	}
	files, err := filepath.Glob("*.go")
	testkit.Must(t, err)
	used := 0
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // of the package
		testkit.Must(t, err)
		for _, name := range regexp.MustCompile(`problem\(http\.(Status\w+)`).FindAllStringSubmatch(string(text), -1) {
			used++
			if code := codes[name[1]]; !documented[strconv.Itoa(code)] {
				t.Errorf("%s: %s (%d) is not in the table", file, name[1], code)
			}
		}
	}
	if used < 20 {
		t.Errorf("only %d statuses were found", used)
	}
}
