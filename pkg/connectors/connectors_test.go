package connectors_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

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
