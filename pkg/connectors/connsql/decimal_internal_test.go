package connsql

import (
	"math/big"
	"strconv"
	"strings"
	"testing"
)

// A number is read as what it is, and no double is said to hold one that it does not.
func FuzzParseDecimal(f *testing.F) {
	for _, seed := range []string{"0", "-0.0", "1.50", "1e3", "9007199254740993", "0.10000000000000001", "16777217", "1e-400", "-12.3E+2", "007", "1e9999", "0.000"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 200 {
			return
		}
		d, ok := parseDecimal(s)
		if !ok || d.point > mostDigits || d.point < -mostDigits {
			return
		}
		given, _ := new(big.Rat).SetString(s)
		sign := ""
		if d.negative {
			sign = "-"
		}
		read, ok := new(big.Rat).SetString(sign + "0." + d.digits + "0e" + strconv.Itoa(d.point))
		if !ok || given.Cmp(read) != 0 {
			t.Fatalf("%q is read as %+v", s, d)
		}
		if d.scale() <= 0 {
			if whole, ok := new(big.Int).SetString(d.integer(), 10); !ok || given.Cmp(new(big.Rat).SetInt(whole)) != 0 {
				t.Errorf("%q is the integer %q", s, d.integer())
			}
		}
		if given.IsInt() != (d.scale() <= 0) {
			t.Errorf("%q has the scale %d", s, d.scale())
		}
		for _, bits := range []int{24, 53} {
			nearest, exact := d.float(s, bits)
			if held := new(big.Rat).SetFloat64(nearest); !exact && held != nil && held.Cmp(given) == 0 {
				t.Errorf("%q is a number of %d bits, and is not said to be one", s, bits)
			}
			// An integer of few enough digits is held only as itself.
			if exact && given.IsInt() && d.point <= 15 && new(big.Rat).SetFloat64(nearest).Cmp(given) != 0 {
				t.Errorf("%q is not %v", s, nearest)
			}
		}
	})
}

// Whatever the server says of a type, its values are read without a panic, and those that
// are quoted as it quotes them come back.
func FuzzMySQLMembers(f *testing.F) {
	f.Add("enum('a','it''s')", "x")
	f.Add("set(", "'")
	f.Add("enum('", "a,b")
	f.Fuzz(func(t *testing.T, full, member string) {
		mysqlMembers(full)
		got := mysqlMembers("enum('first','" + strings.ReplaceAll(member, "'", "''") + "')")
		if len(got) != 2 || got[1] != member {
			t.Errorf("%q is read as %q", member, got)
		}
	})
}

// What MySQL keeps as a double in a document of JSON is refused where it is none.
func TestNumbersOfDocumentsInMySQL(t *testing.T) {
	r := mysqlColumn{data: "json"}.room()
	for document, holds := range map[string]bool{
		`{"n": 18446744073709551615, "f": 0.1}`: true, `[-9223372036854775808, 1e300]`: true, `"0.1234567890123456789"`: true,
		`{"n": 18446744073709551616}`: true, // it is a double
		`{"n": 18446744073709551617}`: false, `[0.1234567890123456789]`: false,
	} {
		if _, err := r.fit(document, jsonType); (err == nil) != holds {
			t.Errorf("%s: %v", document, err)
		}
	}
}
