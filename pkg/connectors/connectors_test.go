package connectors_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

func TestResolve(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("EXTSYNC_TEST_SECRET", "from the environment")
	tests := []struct {
		name string
		ref  connectors.Ref
		want string
		fail string // a part of the error
	}{
		{"nothing to resolve", "plain $HOME", "plain $HOME", ""},
		{"environment", "a ${env:EXTSYNC_TEST_SECRET} b", "a from the environment b", ""},
		{"file, without its line break", connectors.Ref("${file:" + file + "}"), "from a file", ""},
		{"every missing one is named", "${env:EXTSYNC_NO_1}${env:EXTSYNC_NO_2}", "", "EXTSYNC_NO_2"},
		{"missing file", "${file:/nowhere/at/all}", "", "/nowhere/at/all"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := connectors.Secrets{}.Resolve(tt.ref)
			if tt.fail == "" {
				if err != nil || got != tt.want {
					t.Fatalf("%q, %v", got, err)
				}
				return
			}
			if !errors.Is(err, connectors.ErrSecret) || !strings.Contains(err.Error(), tt.fail) || got != "" {
				t.Fatalf("%q, %v", got, err)
			}
			if connectors.ClassOf(fmt.Errorf("wrapped: %w", err)) != connectors.Misconfigured {
				t.Fatalf("class of %v", err)
			}
		})
	}
}

func TestSecretFilesAreBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (connectors.Secrets{}).Resolve(connectors.Ref("${file:" + file + "}")); !errors.Is(err, connectors.ErrSecret) {
		t.Fatalf("got %v", err)
	}
}

func TestUnknownIsTransient(t *testing.T) {
	var zero connectors.Result
	if zero.Class != connectors.Transient || connectors.ClassOf(errors.New("any")) != connectors.Transient {
		t.Fatal("what nobody classified must be tried again")
	}
}

func TestCatalog(t *testing.T) {
	c := connectors.NewCatalog(connectors.Kind{Name: "b"}, connectors.Kind{Name: "a"})
	if kinds := c.Kinds(); len(kinds) != 2 || kinds[0].Name != "a" {
		t.Fatalf("not kinds a and b: %+v", kinds)
	}
	if _, err := c.Kind("c"); !errors.Is(err, connectors.ErrUnknownKind) || !strings.Contains(err.Error(), "a, b") {
		t.Fatalf("got %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Fatal("two kinds of one name were taken")
		}
	}()
	connectors.NewCatalog(connectors.Kind{Name: "a"}, connectors.Kind{Name: "a"})
}

func TestDecodeStrict(t *testing.T) {
	type config struct {
		Wait connectors.Duration `yaml:"wait"`
		Name string              `yaml:"name"`
	}
	var c config
	if err := connectors.DecodeStrict([]byte(`{"wait":"1m30s","name":"x"}`), &c); err != nil || c.Wait.D() != 90*time.Second || c.Name != "x" {
		t.Fatalf("not 1m30s and x: %+v, %v", c, err)
	}
	if err := connectors.DecodeStrict(nil, &c); err != nil || c.Name != "x" {
		t.Fatalf("an empty document: %+v, %v", c, err)
	}
	err := connectors.DecodeStrict([]byte("one: 1\ntwo: 2"), &c)
	if !errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), "one") || !strings.Contains(err.Error(), "two") {
		t.Fatalf("not every unknown field is named: %v", err)
	}
	if err := connectors.DecodeStrict(make([]byte, connectors.MaxConfigLen+1), &c); !errors.Is(err, connectors.ErrConfig) {
		t.Fatalf("too long: %v", err)
	}
}

func FuzzDecodeStrict(f *testing.F) {
	f.Add([]byte("wait: 5s"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c struct {
			Wait connectors.Duration `yaml:"wait"`
			Map  map[string]any      `yaml:"map"`
		}
		if err := connectors.DecodeStrict(data, &c); err != nil && !errors.Is(err, connectors.ErrConfig) {
			t.Fatalf("an error without its class: %v", err)
		}
	})
}
