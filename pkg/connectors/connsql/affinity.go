package connsql

import (
	"errors"
	"strconv"
	"strings"
)

// affineFit is fit for SQLite, where the type of a value is its own and the column's is
// what it tries to make of it.
func (r room) affineFit(v any, typ string) (any, error) {
	s, ok := v.(string)
	if n, isInt := v.(int64); isInt {
		s, ok = strconv.FormatInt(n, 10), true
	}
	if !ok {
		return v, nil
	}
	switch typ {
	case integerType, flagType, numericType, doubleType:
		return r.affineNumber(s)
	default:
		return v, r.unlikeNumber(s)
	}
}

func (r room) affineNumber(s string) (any, error) {
	d, ok := parseDecimal(s)
	switch {
	case !ok:
		return nil, errors.New("gives no decimal number")
	case d.scale() <= 0 && d.point <= mostDigits && r.bits == 0:
		n, err := strconv.ParseInt(d.integer(), 10, 64)
		if err != nil {
			return nil, lossOf("is an integer of more than 64 bits")
		}
		return n, nil
	}
	f, exact := d.float(s, 53)
	if !exact {
		return nil, lossOf("would be rounded to a double")
	}
	return f, nil
}

// unlikeNumber refuses a text that the column would turn into a number which is written in
// another way.
func (r room) unlikeNumber(s string) error {
	if r.keepsTexts {
		return nil
	}
	if _, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && r.bits == 0 && strconv.FormatInt(n, 10) == s {
		return nil
	}
	return lossOf("is a text that the column would turn into a number")
}
