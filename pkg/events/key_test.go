package events_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// The alphabet of subjects, which is that of bucket keys too.
var encodedPattern = regexp.MustCompile(`^[A-Za-z0-9_=-]{1,200}$`)

func TestEncodeKey(t *testing.T) {
	tests := map[string]struct{ key, want string }{
		"plain":                    {"p-2023-vax_1", "p-2023-vax_1"},
		"a dot":                    {"a.b", "a=2Eb"},
		"the mark itself":          {"a=2Eb", "a=3D2Eb"},
		"two marks in front":       {"==x", "=3D=3Dx"},
		"wildcards":                {"*.>", "=2A=2E=3E"},
		"a space":                  {" ", "=20"},
		"a line break":             {"a\r\nb", "a=0D=0Ab"},
		"a zero byte":              {"\x00", "=00"},
		"two bytes":                {"ä", "=C3=A4"},
		"a path":                   {"tenants/7/cases/9", "tenants=2F7=2Fcases=2F9"},
		"200 bytes stay":           {strings.Repeat("k", 200), strings.Repeat("k", 200)},
		"201 bytes are hashed":     {strings.Repeat("k", 201), "==5PYOVUFDXA33YOENNI3MSOBT773EUCULZAMY7QHRW62QGHO52JKA"},
		"67 escaped bytes as well": {strings.Repeat(".", 67), "==2QGKCFZ5BL2PSFIFBP5ZJDK5E5KJ5RATGYS7FITQBUP6CH7TEXSQ"},
		"66 escaped bytes stay":    {strings.Repeat(".", 66), strings.Repeat("=2E", 66)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := testkit.EncodeKey(t, tt.key)
			if got != tt.want {
				t.Fatalf("EncodeKey(%q) = %s, want %s", tt.key, got, tt.want)
			}
			back, err := events.DecodeKey(got)
			if strings.HasPrefix(got, "==") {
				if !errors.Is(err, events.ErrKey) {
					t.Errorf("DecodeKey of a hash = %q, %v", back, err)
				}
				return
			}
			if err != nil || back != tt.key {
				t.Errorf("DecodeKey(%s) = %q, %v, want %q", got, back, err, tt.key)
			}
		})
	}
}

func TestEncodeKeyRefuses(t *testing.T) {
	for name, key := range map[string]string{
		"the empty key":     "",
		"too long":          strings.Repeat("k", events.MaxKeyLen+1),
		"broken UTF-8":      "a\xff",
		"half a character":  "\xc3",
		"a lone surrogate":  "\xed\xa0\x80",
		"an overlong slash": "\xc0\xaf",
	} {
		t.Run(name, func(t *testing.T) {
			enc, err := events.EncodeKey(key)
			if !errors.Is(err, events.ErrKey) {
				t.Errorf("EncodeKey = %s, %v, want ErrKey", enc, err)
			}
		})
	}
	if _, err := events.EncodeKey(strings.Repeat("k", events.MaxKeyLen)); err != nil {
		t.Errorf("the longest key: %v", err)
	}
}

func TestDecodeKeyRefuses(t *testing.T) {
	for name, enc := range map[string]string{
		"nothing":              "",
		"a bare mark":          "=",
		"half an escape":       "a=2",
		"no hexadecimal":       "a=GG",
		"lower case":           "a=2e",
		"a needless escape":    "=61",
		"an unescaped dot":     "a.b",
		"an unescaped space":   "a b",
		"a wildcard":           "*",
		"broken UTF-8 escaped": "=FF",
		"a hash":               "==ABC",
		"too long":             strings.Repeat("k", 201),
	} {
		t.Run(name, func(t *testing.T) {
			key, err := events.DecodeKey(enc)
			if !errors.Is(err, events.ErrKey) {
				t.Errorf("DecodeKey(%q) = %q, %v, want ErrKey", enc, key, err)
			}
		})
	}
}

func FuzzEncodeKey(f *testing.F) {
	for _, key := range []string{"", "a", "a.b", "==", "=3D", "\x00", "ä😀", "\xff", strings.Repeat("x", 200), strings.Repeat("ä", 512)} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		enc, err := events.EncodeKey(key)
		if err != nil {
			if !errors.Is(err, events.ErrKey) || enc != "" {
				t.Fatalf("EncodeKey(%q) = %q, %v", key, enc, err)
			}
			return
		}
		if !encodedPattern.MatchString(enc) {
			t.Fatalf("EncodeKey(%q) = %q is outside the alphabet or too long", key, enc)
		}
		for _, partitions := range wire.PartitionCounts() {
			if p := wire.Partition(enc, partitions); p < 0 || p >= partitions {
				t.Fatalf("partition %d of %d", p, partitions)
			}
		}
		back, err := events.DecodeKey(enc)
		if hashed := strings.HasPrefix(enc, "=="); hashed != (err != nil) || !hashed && back != key {
			t.Fatalf("EncodeKey(%q) = %q, decoded %q, %v", key, enc, back, err)
		}
	})
}

func FuzzDecodeKey(f *testing.F) {
	for _, enc := range []string{"", "a", "=2E", "=2e", "==ABC", "=", "a=4", "=C3=A4", "=FF", "a.b"} {
		f.Add(enc)
	}
	f.Fuzz(func(t *testing.T, enc string) {
		key, err := events.DecodeKey(enc)
		if err != nil {
			if !errors.Is(err, events.ErrKey) || key != "" {
				t.Fatalf("DecodeKey(%q) = %q, %v", enc, key, err)
			}
			return
		}
		// No two texts stand for one key, or one key would have two subjects.
		if again, err := events.EncodeKey(key); err != nil || again != enc {
			t.Fatalf("DecodeKey(%q) = %q, encoded again %q, %v", enc, key, again, err)
		}
	})
}
