package operate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"github.com/hms-utl/extsync/pkg/channels"
)

// A FieldChange is one field of a channel's configuration that would get another
// value. Old or New is empty where the field is not set.
type FieldChange struct {
	Field string          `json:"field" example:"retry.max_attempts"`
	Old   json.RawMessage `json:"old,omitempty"`
	New   json.RawMessage `json:"new,omitempty"`
}

func fieldChanges(old channels.Entry, cfg channels.Config) ([]FieldChange, error) {
	before := map[string]json.RawMessage{}
	if old.Revision != 0 {
		data, err := json.Marshal(old.Config)
		if err != nil {
			return nil, err
		}
		flatten("", data, before)
	}
	data, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	after := map[string]json.RawMessage{}
	flatten("", data, after)
	changes := []FieldChange{}
	for field, value := range after {
		if !bytes.Equal(before[field], value) {
			changes = append(changes, FieldChange{Field: field, Old: before[field], New: value})
		}
	}
	for field, value := range before {
		if _, ok := after[field]; !ok {
			changes = append(changes, FieldChange{Field: field, Old: value})
		}
	}
	slices.SortFunc(changes, func(a, b FieldChange) int { return cmp.Compare(a.Field, b.Field) })
	return changes, nil
}

// flatten collects the values of a JSON document that are no objects, under the
// names of the fields that lead to them.
func flatten(path string, data json.RawMessage, into map[string]json.RawMessage) {
	var object map[string]json.RawMessage
	if json.Unmarshal(data, &object) != nil || object == nil {
		var compact bytes.Buffer
		if json.Compact(&compact, data) == nil {
			data = compact.Bytes()
		}
		into[path] = data
		return
	}
	for name, value := range object {
		if path != "" {
			name = path + "." + name
		}
		flatten(name, value, into)
	}
}
