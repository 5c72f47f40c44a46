package connproto

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The documents that docs/plugins.md shows have every field that is written and read, and no
// other.
func TestReferenceShowsTheDocuments(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "plugins.md"))
	if err != nil {
		t.Fatal(err)
	}
	params := map[string]any{
		MethodHello: &helloParams{}, MethodOpen: &openParams{}, MethodApply: &applyParams{}, MethodRead: &readParams{},
		MethodList: &listParams{}, MethodProbe: &struct{}{}, MethodClose: &struct{}{},
	}
	shown := map[string]bool{}
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for line := range strings.Lines(block[1]) {
			if method := regexp.MustCompile(`"method":"([a-z]+)"`).FindStringSubmatch(line); method != nil {
				shown[method[1]] = true
				compareRequest(t, line, method[1], params[method[1]])
				continue
			}
			strictly(t, []byte(digests(line)), new(Answer))
			for field := range fields(t, line) {
				shown[field] = true
			}
		}
	}
	for _, name := range []string{
		MethodHello, MethodOpen, MethodApply, MethodRead, MethodList, MethodProbe, MethodClose,
		"error", "protocol", "kind", "capabilities", "concurrency", "schema", "results", "held", "keys",
	} {
		if !shown[name] {
			t.Errorf("the page shows no %s", name)
		}
	}
	if all := strings.Count(string(page), "\"attempts\":["); all != 1 {
		t.Errorf("%d requests have attempts", all)
	}
}

// compareRequest compares a request of the page with what is sent for the same parameters.
func compareRequest(t *testing.T, line, method string, params any) {
	t.Helper()
	line = digests(strings.TrimSpace(line))
	head, rest, _ := strings.Cut(strings.TrimSuffix(line, "}"), `"deadline":1790000000000`)
	rest = strings.TrimPrefix(rest, ",")
	if !regexp.MustCompile(`^\{"id":\d,"session":"5f1c","method":"[a-z]+","deadline_ms":\d+,$`).MatchString(head) {
		t.Errorf("%s begins with %s", method, head)
	}
	strictly(t, []byte("{"+rest+"}"), params)
	if sent, err := EncodeParams(params); err != nil || string(sent) != rest {
		t.Errorf("%s: the page has\n%s\nand this is sent: %v\n%s", method, rest, err, sent)
	}
}

// digests makes digests whole that the page cuts short.
func digests(line string) string {
	return regexp.MustCompile(`"digest":"([0-9a-f]{4})"`).ReplaceAllString(line, `"digest":"${1}`+strings.Repeat("0", 60)+`"`)
}

func strictly(t *testing.T, data []byte, into any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		t.Errorf("%s: %v", data, err)
	}
}

func fields(t *testing.T, line string) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(line), &out); err != nil {
		t.Errorf("%s: %v", line, err)
	}
	return out
}
