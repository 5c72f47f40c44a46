package console_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
)

// The console has words for each act in the audit log, and for each way in which a letter or
// key of a job ends.
func TestTheConsoleHasWords(t *testing.T) {
	t.Parallel()
	acts := regexp.MustCompile(`\bAction:\s+"([a-z_]+\.[a-z_]+)"`)
	outcomes := regexp.MustCompile(`(?m)^\tout[A-Z]\w+ += "(\w+)"$`)
	found := map[string][]string{} // words by who has them
	for _, dir := range []string{"../../internal", "../../pkg"} {
		testkit.Must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, m := range acts.FindAllSubmatch(source, -1) {
				found["record.js"] = append(found["record.js"], "'"+string(m[1])+"':")
			}
			if strings.HasSuffix(path, "operate/jobplan.go") {
				for _, m := range outcomes.FindAllSubmatch(source, -1) {
					found["words.js"] = append(found["words.js"], string(m[1])+": '")
				}
			}
			return err
		}))
	}
	for file, words := range found {
		script, err := os.ReadFile(filepath.Join("../../internal/console/assets/js", file))
		testkit.Must(t, err)
		for _, w := range words {
			if !strings.Contains(string(script), w) {
				t.Errorf("%s has no words for %s", file, strings.Trim(w, ":' "))
			}
		}
	}
	if len(found["record.js"]) < 10 || len(found["words.js"]) < 10 {
		t.Errorf("too little was found: %v", found)
	}
}
