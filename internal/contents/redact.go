package contents

import (
	"encoding/json"

	"github.com/hms-utl/extsync/internal/redact"
)

// Redact returns what people may see of a part of a content: nil, if nothing. A whole content
// that has no fields is hidden: it may hold anything.
func Redact(name string, part json.RawMessage, paths []string) json.RawMessage {
	if len(paths) == 0 || part == nil {
		return part
	}
	if name == "" {
		if part[0] == '"' {
			return nil
		}
		shown, _ := redact.Apply(part, paths)
		return shown
	}
	whole, err := encode(map[string]json.RawMessage{name: part})
	if err != nil {
		return nil
	}
	shown, _ := redact.Apply(whole, paths)
	var out map[string]json.RawMessage
	if json.Unmarshal(shown, &out) != nil {
		return nil
	}
	return out[name]
}
