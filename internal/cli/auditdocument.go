package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/hms-utl/extsync/internal/operate"
)

// An auditDocument writes what an audit finds as it comes: a target can differ in
// more keys than fit into memory. With --json all of it is one document.
type auditDocument struct {
	sh    *Shell
	begun bool
}

// indent is that of the findings in the document.
const indent = "    "

func (d *auditDocument) found(f operate.Finding) error {
	if !d.sh.JSON {
		_, err := io.WriteString(d.sh.Out, clean(findingText(f))+"\n")
		return err
	}
	data, err := json.MarshalIndent(f, indent, "  ")
	if err != nil {
		return err
	}
	before := ",\n" + indent
	if !d.begun {
		before = "{\n  \"findings\": [\n" + indent
	}
	d.begun = true
	_, err = io.WriteString(d.sh.Out, before+string(data))
	return err
}

// nextSteps says what to do about what --repair leaves alone, one sentence for each kind of
// difference.
func nextSteps(s *operate.AuditSummary) map[operate.Difference]string {
	next := map[operate.Difference]string{}
	if s.Ahead > 0 {
		next[operate.DiffAhead] = "somebody else has written to the target. If the platform has that version, too, have it publish one above what the target holds" +
			" ('extsync push " + s.Channel + " KEY VERSION'). If it is wrong, correct it at the target, then run 'extsync audit " + s.Channel + " --repair'"
	}
	if s.Extra > 0 {
		next[operate.DiffExtra] = "extsync did not write these keys. Remove them at the target, or have the platform publish them ('extsync push " + s.Channel + " KEY VERSION')"
	}
	return next
}

// end writes what it adds up to.
func (d *auditDocument) end(s operate.AuditSummary, r repaired) error {
	if d.sh.JSON {
		return d.close(struct {
			Summary operate.AuditSummary `json:"summary"`
			repaired
			Next map[operate.Difference]string `json:"next,omitempty"`
		}{s, r, nextSteps(&s)})
	}
	extra := fmt.Sprintf("%d extra", s.Extra)
	if !s.Listed {
		extra = "extra keys not looked for: the target cannot be listed"
	}
	text := fmt.Sprintf("%s: %d keys: %d missing, %d behind, %d ahead, %d different, %s\n",
		s.Channel, s.Looked, s.Missing, s.Behind, s.Ahead, s.Different, extra)
	if r != (repaired{}) {
		text += fmt.Sprintf("%d keys were delivered again, %d skipped for a newer version, %d failed\n", r.Delivered, r.Skipped, r.Failed)
	}
	next := nextSteps(&s)
	for _, of := range slices.Sorted(maps.Keys(next)) {
		text += fmt.Sprintf("%s: %s.\n", of, next[of])
	}
	_, err := io.WriteString(d.sh.Out, text)
	return err
}

// cutOff ends the document, if it was begun, where the audit could not go on.
func (d *auditDocument) cutOff() error {
	if !d.begun {
		return nil
	}
	return d.close(struct {
		CutOff bool `json:"cut_off"`
	}{true})
}

// close writes the fields of v behind the findings.
func (d *auditDocument) close(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	before := "\n  ],"
	if !d.begun {
		before = "{\n  \"findings\": [],"
	}
	_, err = io.WriteString(d.sh.Out, before+string(data[1:])+"\n") // without its opening brace
	return err
}
