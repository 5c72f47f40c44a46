package connhttp

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// replaced returns an error with the rules that stand for fields which answers has
// replaced, nil if a configuration has none of them.
func replaced(data []byte) error {
	var old struct {
		Statuses map[string]string `yaml:"statuses"`
		OnGone   string            `yaml:"on_gone"`
		Held     string            `yaml:"held_version"`
		Ack      struct {
			JQ        string `yaml:"jq"`
			Otherwise string `yaml:"otherwise"`
		} `yaml:"ack"`
	}
	_ = yaml.Unmarshal(data, &old) // what cannot be read is left out; that it is wrong has been said
	var first, compares, families []Answer
	for _, status := range slices.Sorted(maps.Keys(old.Statuses)) {
		rule := Answer{When: ".status == " + status, Class: old.Statuses[status]}
		if rule.Class == "conflict" {
			rule.Class = compareClass
		}
		digit, family := strings.CutSuffix(status, "xx")
		switch {
		case old.Ack.JQ != "" && strings.HasPrefix(status, "2") && rule.Class == "ok": // the ack rule decides
		case family:
			rule.When = fmt.Sprintf(".status >= %s00 and .status <= %s99", digit, digit)
			families = append(families, rule)
		case rule.Class == compareClass:
			compares = append(compares, rule)
		default:
			first = append(first, rule)
		}
	}
	rules := first
	if old.Held != "" {
		held := ofBody(old.Held)
		rules = append(rules, Answer{
			When:  "(.status == 409 or .status == 412) and (try (" + held + ") catch null) != null",
			Class: compareClass, Version: held,
		})
	}
	rules = append(rules, compares...)
	if old.Ack.JQ != "" {
		class := old.Ack.Otherwise
		if class == "" {
			class = "transient"
		}
		rules = append(rules, Answer{When: ".status < 300 and (try [" + ofBody(old.Ack.JQ) + "][0] catch null) != true", Class: class})
	}
	rules = append(rules, families...)
	if old.OnGone == "pause" {
		rules = append(rules, Answer{When: ".status == 410", Class: "misconfigured"})
	}
	if len(rules) == 0 && old.OnGone == "" {
		return nil
	}
	return fmt.Errorf("ack, statuses, held_version and on_gone are rules of answers now; in their place write answers: %s", inOneLine(rules))
}

var simplePath = regexp.MustCompile(`^(\.[A-Za-z_][A-Za-z0-9_]*)+$`)

// ofBody returns an expression over an answer's body as one over the answer.
func ofBody(expression string) string {
	if simplePath.MatchString(expression) {
		return ".body" + expression
	}
	return ".body | (" + expression + ")"
}

// inOneLine writes rules as YAML in one line.
func inOneLine(rules []Answer) string {
	quote := func(text string) string {
		return "'" + strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "'", "''") + "'"
	}
	texts := make([]string, len(rules))
	for i, r := range rules {
		texts[i] = fmt.Sprintf("{when: %s, class: %s}", quote(r.When), r.Class)
		if r.Version != "" {
			texts[i] = strings.TrimSuffix(texts[i], "}") + ", version: " + quote(r.Version) + "}"
		}
	}
	return "[" + strings.Join(texts, ", ") + "]"
}
