package connsql

import (
	"math/big"
	"strconv"
	"strings"
)

// mostDigits bounds how long an integer is written out: no database has longer ones.
const mostDigits = 2000

// A decimalNumber is 0.digits times ten to the power of point, exactly. digits neither
// begins nor ends with a zero, and is empty for zero.
type decimalNumber struct {
	negative bool
	digits   string
	point    int
}

// parseDecimal reads what decimalPattern takes.
func parseDecimal(s string) (d decimalNumber, ok bool) {
	if !decimalPattern.MatchString(s) {
		return d, false
	}
	mantissa, exponent := s, 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa = s[:i]
		exponent, _ = strconv.Atoi(s[i+1:]) // of four digits at most
	}
	d.negative = strings.HasPrefix(mantissa, "-")
	mantissa = strings.TrimLeft(mantissa, "+-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.point = len(whole) + exponent
	all := whole + fraction
	d.digits = strings.TrimLeft(all, "0")
	d.point -= len(all) - len(d.digits)
	if d.digits = strings.TrimRight(d.digits, "0"); d.digits == "" {
		return decimalNumber{}, true
	}
	return d, true
}

// scale is how many digits are behind the point; not above 0 for an integer.
func (d decimalNumber) scale() int { return len(d.digits) - d.point }

// integer writes an integer out. It is not for longer ones than mostDigits.
func (d decimalNumber) integer() string {
	if d.digits == "" || d.point > mostDigits || d.scale() > 0 {
		return "0"
	}
	s := d.digits + strings.Repeat("0", d.point-len(d.digits))
	if d.negative {
		return "-" + s
	}
	return s
}

// float returns the nearest binary number with a fraction of 24 or 53 bits, and whether
// it stands for d: it is d, or d is how it is written with as many digits as tell such
// numbers apart. s is the text of d.
func (d decimalNumber) float(s string, bits int) (f float64, exact bool) {
	size, digits := 64, 17
	if bits == 24 {
		size, digits = 32, 9
	}
	f, err := strconv.ParseFloat(s, size)
	if err != nil {
		return 0, false // it is out of range
	}
	if d.digits == "" {
		return f, true
	}
	if n := len(d.digits); n <= digits {
		written, _ := parseDecimal(strconv.FormatFloat(f, 'e', n-1, size))
		if written == d {
			return f, true
		}
	}
	if size == 32 { // d may be how a double of the same value is written
		if double, err := strconv.ParseFloat(s, 64); err == nil && double == f && len(d.digits) <= 17 {
			return f, true
		}
	}
	if d.point > mostDigits || d.point < -mostDigits {
		return f, false
	}
	given, ok := new(big.Rat).SetString(s)
	held := new(big.Rat).SetFloat64(f)
	return f, ok && held != nil && given.Cmp(held) == 0
}
