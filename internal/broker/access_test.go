package broker

import "testing"

func TestSubjects(t *testing.T) {
	for _, tt := range []struct {
		subject     string
		allow, deny []string
		want        bool
	}{
		{"a.b", nil, nil, true},
		{"a.b", []string{"a.b"}, nil, true},
		{"a.b", []string{"a.*"}, nil, true},
		{"a.b.c", []string{"a.*"}, nil, false},
		{"a.b.c", []string{"a.>"}, nil, true},
		{"a", []string{"a.>"}, nil, false},
		{"a.*", []string{"a.b"}, nil, false},
		{"a.*", []string{"a.*"}, nil, true},
		{"a.>", []string{"a.*"}, nil, false},
		{"a.>", []string{"a.>"}, nil, true},
		{"a.*.c", []string{"x", "*.*.c"}, nil, true},
		{"a.b", []string{"b.>"}, nil, false},
		{"a.>", nil, []string{"a.secret"}, false},
		{"a.b", nil, []string{"a.secret"}, true},
		{"a.*", []string{"a.>"}, []string{"*.b.c"}, true},
		{"a.*.c", []string{"a.>"}, []string{"*.b.c"}, false},
	} {
		if got := (Subjects{Allow: tt.allow, Deny: tt.deny}).Has(tt.subject); got != tt.want {
			t.Errorf("%s, allow %q, deny %q: %v", tt.subject, tt.allow, tt.deny, got)
		}
	}
}
