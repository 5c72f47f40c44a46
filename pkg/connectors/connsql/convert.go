package connsql

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/internal/jq"
)

// A converter turns a value of jq, never nil, into what is stored: a string,
// int64, bool, []byte or time.Time. Its error does not show the value.
type converter func(any) (any, error)

var (
	// A number with needless zeros in front is a text: 007 is not 7.
	decimalPattern = regexp.MustCompile(`^[+-]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?$`)
	// clockPattern finds the zone of a time of day.
	clockPattern    = regexp.MustCompile(`^-?[0-9]{1,3}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?$`)
	fractionPattern = regexp.MustCompile(`\.([0-9]+)`)
	uuidPattern     = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// converterOf returns the converter of a type that Validate has let through.
func converterOf(typ string) converter {
	if element, isArray := strings.CutSuffix(typ, "[]"); isArray {
		return arrayOf(converterOf(element))
	}
	switch typ {
	case integerType:
		return toInteger
	case numericType:
		return toNumeric
	case doubleType:
		return toDouble
	case booleanType:
		return toBoolean
	case timestampType:
		return toTimestamp
	case dateType:
		return toDate
	case uuidType:
		return toUUID
	case jsonType:
		return toJSON
	case bytesType:
		return toBytes
	case flagType:
		return toFlag
	case yearType:
		return toInteger
	case setType:
		return toSet
	default:
		return toText
	}
}

// decimal returns a number as it is written, or a text as it is.
func decimal(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case int:
		return strconv.Itoa(v), true
	case *big.Int:
		return v.String(), true
	case float64: // the result of arithmetic in the expression
		return strconv.FormatFloat(v, 'g', -1, 64), true
	default:
		return "", false
	}
}

func toText(v any) (any, error) {
	if s, ok := decimal(v); ok {
		return s, nil
	}
	if b, ok := v.(bool); ok {
		return strconv.FormatBool(b), nil
	}
	return nil, errors.New("gives neither a text, a number nor a boolean")
}

// toInteger takes 7 and "7", and 7.0 or 7e0 since they are the same number. It gives an
// int64, or the digits of an integer that is longer, for a column that may take it.
func toInteger(v any) (any, error) {
	s, ok := decimal(v)
	if !ok {
		return nil, errors.New("gives no integer")
	}
	return toWhole(s)
}

func toNumeric(v any) (any, error) {
	s, ok := decimal(v)
	if !ok || !decimalPattern.MatchString(s) {
		return nil, errors.New("gives no decimal number")
	}
	return s, nil
}

func toDouble(v any) (any, error) {
	s, ok := decimal(v)
	if !ok || !decimalPattern.MatchString(s) {
		return nil, errors.New("gives no number")
	}
	if _, err := strconv.ParseFloat(s, 64); err != nil {
		return nil, errors.New("gives a number that a double cannot hold")
	}
	return s, nil // the column may hold more of it than a double
}

func toBoolean(v any) (any, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return nil, errors.New("gives no boolean")
}

// toFlag takes a boolean, or an integer that has its place.
func toFlag(v any) (any, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return toInteger(v)
}

// toSet takes a text with commas, or a list of texts.
func toSet(v any) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return toText(v)
	}
	members := make([]string, len(list))
	for i, e := range list {
		if members[i], ok = e.(string); !ok {
			return nil, errors.New("gives a list in which an element is no text")
		}
	}
	return strings.Join(members, ","), nil
}

func toTimestamp(v any) (any, error) {
	s, _ := v.(string)
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return nil, errors.New("gives no RFC 3339 time")
	}
	return t.UTC(), nil
}

func toDate(v any) (any, error) {
	s, _ := v.(string)
	if _, err := time.Parse(time.DateOnly, s); err != nil {
		return nil, errors.New("gives no date like 2006-01-02")
	}
	return s, nil
}

func toUUID(v any) (any, error) {
	s, _ := v.(string)
	if s = strings.ToLower(s); !uuidPattern.MatchString(s) {
		return nil, errors.New("gives no UUID")
	}
	return s, nil
}

func toJSON(v any) (any, error) {
	data, err := jq.Encode(v)
	if err != nil {
		return nil, errors.New("gives a value that JSON cannot write")
	}
	return string(data), nil
}

func toBytes(v any) (any, error) {
	s, ok := v.(string)
	if !ok {
		return nil, errors.New("gives no base64 text")
	}
	data, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil, errors.New("gives no base64 text")
	}
	return data, nil
}

// arrayOf returns a converter to the text form of PostgreSQL's arrays.
func arrayOf(element converter) converter {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	return func(v any) (any, error) {
		list, ok := v.([]any)
		if !ok {
			return nil, errors.New("gives no array")
		}
		parts := make([]string, len(list))
		for i, e := range list {
			if e == nil {
				parts[i] = "NULL"
				continue
			}
			converted, err := element(e)
			if err != nil {
				return nil, errors.New("gives an array in which an element " + err.Error())
			}
			parts[i] = `"` + quote.Replace(postgresText(converted).String) + `"`
		}
		return "{" + strings.Join(parts, ",") + "}", nil
	}
}
