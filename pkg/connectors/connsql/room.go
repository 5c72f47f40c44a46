package connsql

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Types of columns that no configuration names: a column of a database may have them.
const (
	localType    = "timestamp without a zone"
	clockType    = "time of day"
	intervalType = "interval"
	yearType     = "year"
	flagType     = "tinyint(1)"
	setType      = "set"
)

// A room is what a column of the database can hold exactly. The zero room takes every
// value in its text form.
type room struct {
	family string // one of the types of columns, "" for any other
	array  *room  // of the elements, if the column is an array

	chars  int  // most characters of a text; 0: no limit
	octets int  // most bytes of a text; 0: no limit
	padded bool // a text's spaces at the end are lost
	width  int  // of bytes that are filled up with zeros; 0: they are not

	scaled bool // a number has at most scale digits behind the point
	scale  int
	bits   int // of a binary number's fraction: 24 or 53

	fraction int      // most digits of a second; negative: no limit
	zoned    bool     // a time of day has a zone
	partial  bool     // an interval keeps some of its fields only
	members  []string // the only texts that there are

	// affine: it is SQLite's, which turns texts that look like numbers into some, unless
	// keepsTexts, and keeps numbers as integers of 64 bits or doubles.
	affine, keepsTexts bool
}

// errLossy says that a column cannot hold a value exactly.
var errLossy = errors.New("that the column cannot hold exactly (lossy: allow lets the database change it)")

// lossOf returns an error that wraps errLossy.
func lossOf(format string, args ...any) error {
	return fmt.Errorf("gives a value that %s, %w", fmt.Sprintf(format, args...), errLossy)
}

// fitter returns what turns a value of jq into what the column gets. typ is what the
// configuration calls it, "" for what the column is.
func (r room) fitter(typ string, lossy bool) converter {
	own := typ == ""
	if own {
		typ = r.family
	}
	if element, isArray := strings.CutSuffix(typ, "[]"); isArray || own && r.array != nil {
		inner := room{}
		if r.array != nil {
			inner = *r.array
		}
		return arrayOf(inner.fitter(element, lossy))
	}
	convert := converterOf(typ)
	return func(v any) (any, error) {
		converted, err := convert(v)
		if err != nil {
			return nil, err
		}
		fitted, err := r.fit(converted, typ)
		if lossy && errors.Is(err, errLossy) {
			return converted, nil
		}
		return fitted, err
	}
}

// fit gives a value of a type the form that the column takes. The error says why it
// cannot hold it; it wraps errLossy where the database would take it and change it.
func (r room) fit(v any, typ string) (any, error) {
	if r.affine {
		return r.affineFit(v, typ)
	}
	switch r.family {
	case integerType, flagType, yearType:
		return r.integer(v)
	case numericType, doubleType:
		return r.number(v)
	case setType:
		return r.set(v)
	case textType, bytesType:
		return v, r.text(v)
	case timestampType, localType:
		return r.instant(v)
	case dateType:
		return r.date(v)
	case clockType, intervalType:
		return v, r.clock(v)
	case jsonType:
		return v, r.json(v)
	default:
		return v, nil
	}
}

// integer takes what is one: a fraction would be rounded.
func (r room) integer(v any) (any, error) {
	switch v := v.(type) {
	case int64:
		if r.family == yearType && v != 0 && (v < 1901 || v > 2155) {
			return nil, errors.New("gives no year from 1901 to 2155")
		}
		return v, nil
	case bool:
		if r.family == integerType {
			return nil, errors.New("gives a boolean for a column of integers")
		}
		return v, nil
	case string:
		whole, err := toWhole(v)
		if n, isInt := whole.(int64); isInt && r.family == yearType {
			return r.integer(n)
		}
		return whole, err
	default:
		return nil, errors.New("gives no integer")
	}
}

// toWhole returns an int64, or the digits of an integer that is longer.
func toWhole(s string) (any, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && decimalPattern.MatchString(s) {
		return n, nil
	}
	d, ok := parseDecimal(s)
	switch {
	case !ok:
		return nil, errors.New("gives no integer")
	case d.scale() > 0:
		return nil, errors.New("gives a fraction, which a column of integers cannot hold")
	case d.point > mostDigits:
		return nil, errors.New("gives an integer that is too large")
	}
	text := d.integer()
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	return text, nil
}

func (r room) number(v any) (any, error) {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case int64:
		s = strconv.FormatInt(v, 10)
	default:
		return v, nil // of another type, which the database judges
	}
	d, ok := parseDecimal(s)
	if !ok {
		return v, nil // as above
	}
	if r.scaled && d.scale() > r.scale {
		return nil, lossOf("would be rounded to the column's scale of %d", r.scale)
	}
	if r.bits == 0 {
		return v, nil
	}
	f, exact := d.float(s, r.bits)
	if !exact {
		return nil, lossOf("would be rounded to a binary number of %d bits", r.bits)
	}
	return f, nil
}

// text looks at what a text or bytes must not have.
func (r room) text(v any) error {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case []byte:
		return r.bytes(v)
	default:
		return nil
	}
	switch {
	case r.members != nil && !slices.Contains(r.members, s):
		return errors.New("gives none of the column's values")
	case r.padded && strings.HasSuffix(s, " "):
		return lossOf("ends with spaces, which the column does not keep")
	case r.tooLong(s):
		// Databases cut spaces off, and refuse a text that is longer without them.
		problem := fmt.Errorf("gives a value that is longer than the column's %s", r.length())
		if r.tooLong(strings.TrimRight(s, " ")) {
			return problem
		}
		return fmt.Errorf("%w, %w", problem, errLossy)
	default:
		return nil
	}
}

func (r room) tooLong(s string) bool {
	return r.octets > 0 && len(s) > r.octets || r.chars > 0 && len(s) > r.chars && utf8.RuneCountInString(s) > r.chars
}

// length is for people.
func (r room) length() string {
	if r.octets > 0 {
		return fmt.Sprintf("%d bytes", r.octets)
	}
	return fmt.Sprintf("%d characters", r.chars)
}

func (r room) bytes(v []byte) error {
	switch {
	case r.width > 0 && len(v) < r.width:
		return lossOf("would be filled up with zeros to %d bytes", r.width)
	case r.octets > 0 && len(v) > r.octets:
		return fmt.Errorf("gives a value that is longer than the column's %d bytes", r.octets)
	default:
		return nil
	}
}

// json looks at the numbers of a document that the database keeps as doubles.
func (r room) json(v any) error {
	s, ok := v.(string)
	if !ok || r.bits == 0 {
		return nil
	}
	tokens := json.NewDecoder(strings.NewReader(s))
	tokens.UseNumber()
	for {
		token, err := tokens.Token()
		if err != nil {
			return nil //nolint:nilerr // the end, or what the database refuses
		}
		number, ok := token.(json.Number)
		if !ok {
			continue
		}
		if _, err := strconv.ParseInt(number.String(), 10, 64); err == nil {
			continue
		}
		if _, err := strconv.ParseUint(number.String(), 10, 64); err == nil {
			continue
		}
		d, ok := parseDecimal(number.String())
		if _, exact := d.float(number.String(), r.bits); ok && !exact {
			return lossOf("has a number that would be rounded to a double")
		}
	}
}

// set takes a list of members with commas between, each once, and orders them as the column
// does.
func (r room) set(v any) (any, error) {
	s, ok := v.(string)
	if !ok || s == "" {
		return v, nil
	}
	given := strings.Split(s, ",")
	var there []string
	for _, member := range r.members {
		if slices.Contains(given, member) {
			there = append(there, member)
		}
	}
	if len(there) != len(given) {
		return nil, errors.New("gives what is not a list of the column's values, each once")
	}
	return strings.Join(there, ","), nil
}

// instant returns a time.Time. A column without a zone takes what has none, and UTC.
func (r room) instant(v any) (any, error) {
	var t time.Time
	switch v := v.(type) {
	case time.Time:
		t = v
	case string:
		var err error
		if t, err = r.parseInstant(v); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("gives no time")
	}
	if digitsOfSecond(t.Nanosecond()) > r.fraction && r.fraction >= 0 {
		return nil, lossOf("has more than %d digits of a second, which is what the column keeps", r.fraction)
	}
	return t, nil
}

func (r room) parseInstant(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if r.family == timestampType {
		if err != nil {
			return t, errors.New("gives no RFC 3339 time")
		}
		return t.UTC(), nil
	}
	if err == nil {
		if _, offset := t.Zone(); offset != 0 {
			return t, lossOf("has a time zone, which the column does not keep: type: timestamp keeps the time in UTC")
		}
		return t.UTC(), nil
	}
	for _, form := range []string{"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"} {
		if t, err = time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return t, errors.New("gives no time like 2006-01-02T15:04:05")
}

// digitsOfSecond is how many digits of a second the nanoseconds take.
func digitsOfSecond(nanos int) int {
	digits := 9
	for ; digits > 0 && nanos%10 == 0; digits-- {
		nanos /= 10
	}
	return digits
}

func (r room) date(v any) (any, error) {
	switch v := v.(type) {
	case time.Time:
		if !v.Equal(v.UTC().Truncate(24 * time.Hour)) {
			return nil, lossOf("has a time of day, which the column does not keep")
		}
		return v.UTC().Format(time.DateOnly), nil
	case string:
		return toDate(v)
	default:
		return nil, errors.New("gives no date")
	}
}

// clock looks at a time of day or an interval, which the database reads itself.
func (r room) clock(v any) error {
	s, ok := v.(string)
	if !ok {
		return errors.New("gives no time of day")
	}
	if r.family == intervalType {
		if r.partial {
			return lossOf("may have fields which the column does not keep")
		}
	} else {
		m := clockPattern.FindStringSubmatch(s)
		switch {
		case m == nil:
			return errors.New("gives no time of day like 15:04:05")
		case m[1] != "" && !r.zoned:
			return lossOf("has a time zone, which the column does not keep")
		case m[1] == "" && r.zoned:
			return errors.New("gives a time of day without a zone")
		}
	}
	for _, m := range fractionPattern.FindAllStringSubmatch(s, -1) {
		if len(strings.TrimRight(m[1], "0")) > r.fraction && r.fraction >= 0 {
			return lossOf("has more than %d digits of a second, which is what the column keeps", r.fraction)
		}
	}
	return nil
}
