package conns3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/internal/testcert"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

// TestRefusalsOfTheServer: what a real server says to what it does not take.
func TestRefusalsOfTheServer(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	host := connectortest.Host(map[string]string{"KEY": testKeyID, "SECRET": testSecret, "OTHER": "another-secret", "NOBODY": "nobody"})
	for name, c := range map[string]struct {
		change [2]string
		code   string
	}{
		"secret": {[2]string{"${env:SECRET}", "${env:OTHER}"}, "SignatureDoesNotMatch"},
		"key":    {[2]string{"${env:KEY}", "${env:NOBODY}"}, "XAdminUserNotFound"}, // this server's own
		"bucket": {[2]string{"bucket: " + testBucket, "bucket: nothing-there"}, "NoSuchBucket"},
		"region": {[2]string{"suffix: .json", "region: eu-central-1"}, "AuthorizationHeaderMalformed"},
	} {
		t.Run(name, func(t *testing.T) {
			config := strings.Replace(s.config(""), c.change[0], c.change[1], 1)
			opened, err := connectors.Open(t.Context(), Kind(), host.Env("conformance"), []byte(config))
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close(t.Context()) //nolint:errcheck // nothing is lost by it
			res := apply(t, opened, attempt("k", 1, `{}`))
			wantClass(t, "Apply", res, connectors.Misconfigured, c.code)
			if err := opened.Probe(t.Context()); connectors.ClassOf(err) != connectors.Misconfigured {
				t.Errorf("Probe: %v", err)
			}
			if _, err := opened.Read(t.Context(), []string{"k"}); connectors.ClassOf(err) != connectors.Misconfigured {
				t.Errorf("Read: %v", err)
			}
		})
	}
}

// TestCodes: each code and status has the class of the table, in every call.
func TestCodes(t *testing.T) {
	t.Parallel()
	var status int
	var code, method string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead && method == http.MethodPut {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		if code == "" {
			w.WriteHeader(status)
			return
		}
		refuse(w, status, code)
	}))
	defer srv.Close()
	c := opened(t, configFor(srv.URL, ""))
	check := func(what string, class connectors.Class) {
		want := code
		if want == "" {
			want = fmt.Sprint(status)
		}
		method = http.MethodPut
		res := apply(t, c, attempt("k", 1, `{}`))
		wantClass(t, what+" to PUT", res, class, want)
		if code != "" && (class == connectors.Permanent) != (res.RetryAfter == 0) {
			t.Errorf("%s: retry after %s", what, res.RetryAfter)
		}
		if code != "" && res.Response != "no, *** of ***" {
			t.Errorf("%s: response %q", what, res.Response)
		}
		method = ""
		if _, err := c.List(t.Context(), "", 10); connectors.ClassOf(err) != class {
			t.Errorf("%s to a list: %v", what, err)
		}
		if status == http.StatusNotFound || status >= 500 || status == http.StatusTooManyRequests {
			return // which mean something else to HEAD, or are not asked about again
		}
		wantClass(t, what+" to HEAD", apply(t, c, attempt("k", 1, `{}`)), class, want)
	}
	for _, m := range Codes() {
		if len(m.Code) > 3 {
			status, code = http.StatusBadRequest, m.Code
			check(m.Code, m.Class)
		}
	}
	code = ""
	for s, class := range map[int]connectors.Class{
		301: connectors.Misconfigured, 307: connectors.Misconfigured, 400: connectors.Misconfigured, 403: connectors.Misconfigured,
		404: connectors.Misconfigured, 408: connectors.Transient, 409: connectors.Transient, 413: connectors.Permanent,
		429: connectors.Throttled, 500: connectors.Transient, 501: connectors.Misconfigured, 503: connectors.Throttled, 507: connectors.Misconfigured, 599: connectors.Transient,
	} {
		status = s
		check(fmt.Sprint(s), class)
	}
	status, code = http.StatusTeapot, "SomethingNew"
	check(code, connectors.Misconfigured)
}

// TestHostileAnswers: whatever answers, the connector gives a result soon, and remembers
// nothing of what is too large.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		code   string
	}{
		"no ETag":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }, "no_etag"},
		"endless error": {endless, "403"},
		"no code": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(403)
			_, _ = io.WriteString(w, "<Error><Code>a b</Code></Error>")
		}, "403"},
		"large header":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", strings.Repeat("x", 128<<10)) }, "transport"},
		"another page":   {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusFound) }, "302"},
		"always changed": {changing(), "timeout"},
		"never changed": {func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			}
			w.Header().Set("ETag", `"x"`)
			w.Header().Set(metaVersion, "1")
			w.Header().Set(metaOp, "upsert")
		}, "PreconditionFailed"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(c.answer)
			defer srv.Close()
			o := opened(t, configFor(srv.URL, ""))
			ctx, cancel := context.WithTimeout(t.Context(), connectortest.Timeout)
			if c.code == "timeout" {
				ctx, cancel = context.WithTimeout(t.Context(), 300*time.Millisecond)
			}
			defer cancel()
			if res := o.Apply(ctx, []connectors.Attempt{attempt("k", 1<<40, `{}`)})[0]; res.Code != c.code {
				t.Errorf("class %s, code %s: %v", res.Class, res.Code, res.Err)
			}
			if _, err := o.List(ctx, "", 10); err == nil {
				t.Error("that is a list")
			}
			if _, err := o.Read(ctx, []string{"k"}); err == nil && c.code != "PreconditionFailed" && c.code != "timeout" {
				t.Error("that can be read")
			}
		})
	}
}

// endless answers with a body that does not end before the client has enough.
func endless(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusForbidden)
	if r.Method == http.MethodHead {
		return
	}
	_, err := io.WriteString(w, "<Error><Code>A")
	for chunk := strings.Repeat("A", 64<<10); err == nil; {
		_, err = io.WriteString(w, chunk)
	}
}

// changing holds another object whenever it is asked, and refuses every write.
func changing() http.HandlerFunc {
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
		n++
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
		w.Header().Set(metaVersion, fmt.Sprint(n))
		w.Header().Set(metaOp, "upsert")
	}
}

// TestOwnAuthority: a store with a certificate of one's own authority.
func TestOwnAuthority(t *testing.T) {
	t.Parallel()
	authority, err := testcert.New()
	testkit.Must(t, err)
	cert, key, err := authority.Issue(testcert.Leaf{})
	testkit.Must(t, err)
	dir := t.TempDir()
	s := startStore(t, writeFile(t, dir, "cert.pem", cert), writeFile(t, dir, "key.pem", key))
	ca := writeFile(t, dir, "ca.pem", authority.PEM)
	trusting := opened(t, configFor("https://"+s.address, "tls: {ca: '${file:"+ca+"}'}\n"))
	// There is no bucket, which only one who is let in hears.
	wantClass(t, "with its authority", apply(t, trusting, attempt("k", 1, `{}`)), connectors.Misconfigured, "NoSuchBucket")
	wantClass(t, "without", apply(t, opened(t, configFor("https://"+s.address, "")), attempt("k", 1, `{}`)), connectors.Misconfigured, "tls_verify")
}

// TestNetworksAreTheOperators: a store outside of what is allowed is not connected to, and
// a name is looked at once it is resolved.
func TestNetworksAreTheOperators(t *testing.T) {
	t.Parallel()
	config := strings.Replace(configFor("http://localhost:1", ""), "allow_cidrs: [127.0.0.0/8]", "allow_cidrs: []", 1)
	wantClass(t, "not chosen", apply(t, opened(t, config), attempt("k", 1, `{}`)), connectors.Misconfigured, "address_denied")
	wantClass(t, "chosen", apply(t, opened(t, configFor("http://127.0.0.1:1", "")), attempt("k", 1, `{}`)), connectors.Transient, connectors.CodeRefused)
	config = strings.Replace(configFor("http://10.0.0.1", ""), "127.0.0.0/8", "10.0.0.0/8", 1)
	_, err := connectors.Open(t.Context(), Kind(), connectortest.Env(map[string]string{"KEY": "k", "SECRET": "s"}), []byte(config))
	if !errors.Is(err, connectors.ErrNotAllowed) {
		t.Errorf("a network that the operator does not allow: %v", err)
	}
}
