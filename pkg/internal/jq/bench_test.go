package jq

import "testing"

// What plain mappings cost. The bounds must not make them slower.
func BenchmarkPlain(b *testing.B) {
	const payload = `{"id":"p-1","kind":"policy","title":"A policy of some length","status":"active","owner":{"name":"Ada","mail":"ada@example.org"},` +
		`"tags":["a","b","c"],"lines":[{"sku":"x1","qty":2,"price":10},{"sku":"x2","qty":1,"price":5},{"sku":"x3","qty":7,"price":3}],"notes":"line one line two"}`
	for name, expression := range map[string]string{
		"identity":    `.`,
		"filter":      `.kind == "policy" and .status != "draft"`,
		"object":      `{id, title: .title, owner: .owner.name, key: $key}`,
		"sum":         `[.lines[] | .qty * .price] | add`,
		"map":         `.lines | map({(.sku): .qty}) | add`,
		"text":        `"\(.id)/\(.title) by \(.owner.name)"`,
		"replace":     `.notes | gsub(" "; "_")`,
		"test":        `.owner.mail | test("^[a-z]+@")`,
		"split":       `.notes | split(" ") | join("-")`,
		"sort":        `.lines | sort_by(.price) | .[0].sku`,
		"contains":    `.tags | contains(["b"])`,
		"change":      `.owner.name |= ascii_upcase | del(.notes)`,
		"by variable": `.tags as $t | [range($t | length) | $t[.]]`,
	} {
		b.Run(name, func(b *testing.B) {
			p, err := Compile(expression, "$key")
			if err != nil {
				b.Fatal(err)
			}
			document, err := Decode([]byte(payload))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Run(b.Context(), 2, document, "the key"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
