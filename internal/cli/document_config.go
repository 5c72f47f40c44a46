package cli

import (
	"fmt"
	"strings"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/kinds"
	"github.com/hms-utl/extsync/pkg/schema"
)

const madeFrom = "Made from the programs themselves by `make docs`.\n\n"

const channelsHead = `# Channels

` + madeFrom + `A file of channels is a YAML or JSON document with the fields ` + "`channels`" + ` and ` + "`topics`" + `, which list them, or one of the two; [an example](../examples/channels.yaml). ` +
	"`extsync channels plan`" + ` shows what a file would change, ` + "`extsync channels apply`" + ` changes it, and so does
` + "`PUT /v1/channels/{channel}`" + ` for one channel. Everything that is wrong with a file is told at once, with its line.

Editors complete and check such a file with [its JSON Schema](../examples/channels.schema.json), which ` + "`extsync channels schema`" + ` writes:
` + "`# yaml-language-server: $schema=channels.schema.json`" + ` as the first line, with the path of the schema.

Anchors, aliases and merge keys (` + "`<<`" + `) can be used. ` + "`null`" + ` is as if a field were not there. Durations have units (` + "`500ms`, `30s`, `5m`" + `), and so may sizes (` + "`64MiB`" + `).
Secrets are referred to as ` + "`${env:NAME}` and `${file:/path}`" + `, and resolved by the workers, within what [their operator allows](operations.md#what-channels-may-use).

The fields of ` + "`connector.config`" + ` are those of the kind: `

// documentChannels returns the reference of channels as Markdown.
func documentChannels() string {
	var b strings.Builder
	b.WriteString(channelsHead)
	for i, name := range kinds.All().Names() {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "[%s](connectors/%s.md)", name, name)
	}
	b.WriteString(".\n")
	documentFields(&b, schema.For[channels.Config]())
	b.WriteString("\n# Topics\n\nThe fields of an entry of `topics`. [Operations](operations.md#topics) says when to use them.\n")
	documentFields(&b, schema.For[channels.Topic]())
	return b.String()
}

// documentKind returns the reference of a kind's configuration as Markdown.
func documentKind(k connectors.Kind) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Connectors of kind %s\n\n%s`%s` %s. What it can do at best: %s.\n\n", k.Name, madeFrom, k.Name, k.Summary, k.Capabilities)
	b.WriteString("These are the fields of `connector.config` of [a channel](../channels.md); `extsync kinds " + k.Name + "` lists them, too.\n")
	if t := k.Fields(); t != nil {
		documentFields(&b, t)
	}
	return b.String()
}

func documentFields(b *strings.Builder, t *schema.Type) {
	for _, group := range t.Groups() {
		fmt.Fprintf(b, "\n## %s\n\n| field | takes | default | meaning |\n|---|---|---|---|\n", group.Name)
		for _, line := range group.Lines {
			takes := line.Takes()
			if facts := line.Facts(); facts != "" {
				takes += "; " + facts
			}
			meaning := inCell(line.Doc)
			if line.Example != "" {
				meaning += " Example: " + code(line.Example)
			}
			standard := ""
			if line.Default != "" {
				standard = code(line.Default)
			}
			fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", line.Path, inCell(takes), standard, meaning)
		}
	}
}

// inCell keeps a text in its cell of a table, and its braces and angles as they are.
func inCell(text string) string {
	return strings.NewReplacer("|", `\|`, "<", `\<`, "*", `\*`, "_", `\_`, "\n", " ").Replace(text)
}

func code(text string) string { return "`" + strings.ReplaceAll(text, "|", `\|`) + "`" }
