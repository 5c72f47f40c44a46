package events

import (
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// IsJSON reports whether payloads of a content type are JSON documents. The empty
// content type stands for DefaultContentType.
func IsJSON(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return contentType == "" || err == nil && (media == DefaultContentType || strings.HasSuffix(media, "+json"))
}

// CheckJSON says what keeps a text from being one JSON document that everybody reads
// alike; nil if nothing does. Bytes that are not UTF-8 do, and so do escapes of half
// a surrogate pair: encoding/json and others read each of them as U+FFFD, so that two
// keys become one, and a target stores what nobody sent. Names may come twice. The
// error shows nothing of the text. It costs two fifths of json.Valid at most: SQL
// targets have each payload looked at.
func CheckJSON(text []byte) error {
	twice := jsontext.AllowDuplicateNames(true)
	switch {
	case jsontext.Value(text).IsValid(twice):
		return nil
	case !utf8.Valid(text):
		return fmt.Errorf("it is not valid UTF-8 from byte %d on", firstInvalid(text))
	case jsontext.Value(text).IsValid(twice, jsontext.AllowInvalidUTF8(true)):
		return errors.New(`it has a \u escape that is half of a surrogate pair`)
	default:
		return errors.New("it is not valid JSON")
	}
}

// firstInvalid returns where a text that is not valid UTF-8 ceases to be, counted
// from 0.
func firstInvalid(text []byte) int {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size <= 1 {
			break
		}
		at += size
	}
	return at
}

// CheckPayload says what keeps a payload from every target: it is empty and op is not
// Delete, it is not empty and op is Delete (no filter, mapping or column is asked about a
// delete, so that its payload would come to nothing), or its content type is JSON and CheckJSON has something to say. A payload of
// another type may be any bytes. Publish stores it nevertheless, and it ends as a dead
// letter: check what comes from outside. The error wraps ErrInvalidUpdate and shows
// nothing of the payload.
func (u *Update) CheckPayload() error {
	if len(u.Payload) == 0 {
		if u.op() == Delete {
			return nil
		}
		return fmt.Errorf("%w: payload: it is empty; op delete removes the entity", ErrInvalidUpdate)
	}
	if u.op() == Delete {
		return fmt.Errorf("%w: payload: a delete has none", ErrInvalidUpdate)
	}
	if !IsJSON(u.ContentType) {
		return nil
	}
	if err := CheckJSON(u.Payload); err != nil {
		return fmt.Errorf("%w: payload: %w; give another content type if it is not meant to be JSON", ErrInvalidUpdate, err)
	}
	return nil
}
