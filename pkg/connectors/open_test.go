package connectors_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
)

var errLeak = errors.New("a leak")

// A leak is a connector that puts its secret into everything that it says.
type leak struct{ said func() string }

func (l leak) err() error {
	return fmt.Errorf("outer %s: %w", l.said(), &connectors.Error{Class: connectors.Permanent, Code: l.said(), Err: fmt.Errorf("%s: %w", l.said(), errLeak)})
}

func (l leak) Apply(_ context.Context, attempts []connectors.Attempt) []connectors.Result {
	if len(attempts) == 0 {
		panic(l.err())
	}
	out := make([]connectors.Result, len(attempts))
	for i := range out {
		out[i] = connectors.Result{Class: connectors.Conflict, Code: l.said(), Err: l.err(), Response: l.said()}
	}
	return out
}
func (l leak) Close(context.Context) error                               { return l.err() }
func (l leak) Probe(context.Context) error                               { return l.err() }
func (l leak) Read(context.Context, []string) ([]connectors.Held, error) { return nil, l.err() }
func (l leak) List(context.Context, string, int) ([]string, error)       { return nil, l.err() }
func (l leak) Preview(_ context.Context, a connectors.Attempt) (connectors.Preview, error) {
	if a.Key == "" {
		return connectors.Preview{}, l.err()
	}
	return connectors.Preview{URL: l.said(), Statement: l.said(), Headers: map[string]string{"a": l.said()}, Parameters: []any{l.said()}}, nil
}

// A kind cannot show a secret, however much it tries: in no form that values have, in no
// error, code, excerpt or preview, nor when it cannot be opened.
func TestNoKindShowsASecret(t *testing.T) {
	const canary, pin = "c4n\"ry & more", "77"
	host := connectors.Host{
		Allow:     connectors.Allow{Grant: connectors.Grant{Env: connectors.List{"A", "PIN"}}},
		LookupEnv: func(name string) (string, bool) { return map[string]string{"A": canary, "PIN": pin}[name], true },
	}
	said := func() string {
		return strings.Join([]string{
			"x" + canary + "y", url.QueryEscape(canary), url.PathEscape(canary), fmt.Sprintf("%q", canary), base64.StdEncoding.EncodeToString([]byte(canary)),
			"pin=" + pin, "order 1776",
		}, " ")
	}
	kind := func(open func() (connectors.Connector, error)) connectors.Kind {
		can := connectors.Capabilities{Probes: true, Reads: true, Lists: true, Previews: true}
		return connectors.Kind{Name: "leak", Capabilities: can, Open: func(_ context.Context, env connectors.Env, _ []byte) (connectors.Connector, error) {
			if _, err := env.Resolve("${env:A}-${env:PIN}"); err != nil {
				return nil, err
			}
			return open()
		}}
	}
	clean := func(what, text string) {
		t.Helper()
		for _, form := range []string{"c4n", "Ym3", base64.StdEncoding.EncodeToString([]byte(canary)), "pin=" + pin} {
			if strings.Contains(text, form) {
				t.Errorf("%s shows it: %s", what, text)
			}
		}
		if !strings.Contains(text, "order 1776") || !strings.Contains(text, connectors.Hidden) {
			t.Errorf("%s shows too little: %s", what, text)
		}
	}
	conn, err := connectors.Open(t.Context(), kind(func() (connectors.Connector, error) { return leak{said}, nil }), host.Env("c"), nil)
	testkit.Must(t, err)
	res := conn.Apply(t.Context(), make([]connectors.Attempt, 1))[0]
	clean("code", res.Code)
	clean("error", res.Err.Error())
	clean("excerpt", res.Response)
	if res.Class != connectors.Conflict || connectors.ClassOf(res.Err) != connectors.Permanent {
		t.Errorf("the classes are gone: %+v", res)
	}
	_, readErr := conn.Read(t.Context(), nil)
	_, listErr := conn.List(t.Context(), "", 1)
	_, previewErr := conn.Preview(t.Context(), connectors.Attempt{})
	for what, err := range map[string]error{
		"Probe": conn.Probe(t.Context()), "Read": readErr, "List": listErr, "Preview": previewErr, "Close": conn.Close(t.Context()),
	} {
		clean(what, err.Error())
	}
	func() {
		defer func() { clean("panic of a call", fmt.Sprint(recover())) }()
		conn.Apply(t.Context(), nil)
	}()
	var a connectors.Attempt
	a.Key = "k"
	p, err := conn.Preview(t.Context(), a)
	testkit.Must(t, err)
	for _, text := range []string{p.URL, p.Statement, p.Headers["a"], fmt.Sprint(p.Parameters...)} {
		clean("preview", text)
	}
	_, err = connectors.Open(t.Context(), kind(func() (connectors.Connector, error) { return nil, leak{said}.err() }), host.Env("c"), nil)
	clean("Open", err.Error())
	if !errors.Is(err, errLeak) {
		t.Error("the error is not recognised any more")
	}
	_, err = connectors.Open(t.Context(), kind(func() (connectors.Connector, error) { panic(said()) }), host.Env("c"), nil)
	clean("panic", err.Error())
}

func TestOpenedDoesWhatTheConnectorCan(t *testing.T) {
	kind := connectors.Kind{Name: "plain", Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) { return plain{}, nil }}
	conn, err := connectors.Open(t.Context(), kind, connectors.Env{}, nil)
	testkit.Must(t, err)
	if conn.MaxBatch() != 1 || conn.Can() != (connectors.Capabilities{}) {
		t.Errorf("it can %s", conn.Can())
	}
	_, readErr := conn.Read(t.Context(), nil)
	_, listErr := conn.List(t.Context(), "", 1)
	_, previewErr := conn.Preview(t.Context(), connectors.Attempt{})
	for _, err := range []error{conn.Probe(t.Context()), readErr, listErr, previewErr} {
		if !errors.Is(err, connectors.ErrUnable) {
			t.Error(err)
		}
	}
}

// What is declared must be there, and what is there is used only if it is declared.
func TestCapabilitiesAreDeclared(t *testing.T) {
	kind := func(conn connectors.Connector, can connectors.Capabilities) connectors.Kind {
		return connectors.Kind{Name: "k", Capabilities: can, Open: func(context.Context, connectors.Env, []byte) (connectors.Connector, error) { return conn, nil }}
	}
	for name, can := range map[string]connectors.Capabilities{
		"Prober": {Probes: true}, "Reader": {Reads: true}, "Lister": {Lists: true}, "Previewer": {Previews: true}, "Batcher": {Batches: true},
	} {
		if _, err := connectors.Open(t.Context(), kind(plain{}, can), connectors.Env{}, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	conn, err := connectors.Open(t.Context(), kind(leak{func() string { return "" }}, connectors.Capabilities{Reads: true}), connectors.Env{}, nil)
	testkit.Must(t, err)
	if err := conn.Probe(t.Context()); !errors.Is(err, connectors.ErrUnable) {
		t.Errorf("it is probed, which is not declared: %v", err)
	}
}

type plain struct{}

func (plain) Apply(context.Context, []connectors.Attempt) []connectors.Result { return nil }
func (plain) Close(context.Context) error                                     { return nil }

// A key in PEM is shown in parts: a line of it is as secret as all.
func TestScrubberKnowsLines(t *testing.T) {
	var s connectors.Scrubber
	line := strings.Repeat("MIIEvQ+/", 8)
	s.Add("-----BEGIN PRIVATE KEY-----\n" + strings.Repeat(line+"\n", 100) + "-----END PRIVATE KEY-----\n")
	s.Add("  padded secret \n")
	got := s.Text("-----BEGIN PRIVATE KEY-----\\n" + line + "\\n and " + url.QueryEscape(line) + " and padded secret")
	if got != `-----BEGIN PRIVATE KEY-----\n***\n and *** and ***` {
		t.Errorf("%s", got)
	}
}
