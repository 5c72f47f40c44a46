package connhttp

import (
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// oddTemplates are templates that are easily read in more than one way.
func oddTemplates() []string {
	return []string{
		"https://h/a?b=c", "https://h", "https://h/", "https://h?", "https://h?{key}", "https://h/{key}?", "https://h/{key}??",
		"HTTP://Host:/{key}", "http://h:8080/x{key}y/{version}{key}", "http://[::1]:80/{key}", "http://[fe80::1%25en0]:/{key}",
		"https://h//{key}//", "https://h/a b/{key}?c d={key}", "https://h/é/{key}", "https://h/%{version}0/{key}", "https://h/%2F/{key}",
		"https://h/a;b=1,c:d@e/{key}!*'()", "https://h/*/{key}", "https://h/.{key}.", "https://h/a?x={key}&y=%zz;{version}", "https://h/a/?{version}",
		"https://h/a:b/{version}?{key}?{key}/{key}",
	}
}

// byParsing is the URL of a request as it is made by writing the update into the
// template's text and having net/url and net/http read that.
func byParsing(t *testing.T, text, key, version, query string) (*http.Request, error) {
	t.Helper()
	fill := func(s string) string {
		return strings.NewReplacer(keyPlaceholder, escape(key, unreserved), versionPlaceholder, escape(version, unreserved)).Replace(s)
	}
	path, rest, hasQuery := strings.Cut(text, "?")
	path = fill(path)
	if dotSegment(path) {
		return nil, errDotSegment
	}
	if hasQuery {
		path += "?" + fill(rest)
	}
	u, err := url.Parse(path)
	if err != nil {
		return nil, err
	}
	if query != "" {
		u.RawQuery = joinQuery(u.RawQuery, query)
	}
	return http.NewRequestWithContext(t.Context(), http.MethodPost, u.String(), http.NoBody)
}

// FuzzRequestURL: a compiled template gives the request that parsing the whole
// text again would give, for every template, key and version.
func FuzzRequestURL(f *testing.F) {
	for _, key := range []string{"k", "", ".", "..", "a/b", "%2e", "?#&=", "{version}", "\x00", "é", " ", "a;b", "@host:1", "*", "//"} {
		f.Add(key, int64(7), false)
		f.Add(key, int64(1_700_000_000), true)
	}
	f.Fuzz(func(t *testing.T, key string, number int64, isTime bool) {
		version, err := versioning.Number(number)
		if isTime {
			version, err = versioning.Time(time.Unix(number, number%1_000_000_000))
		}
		if err != nil {
			return
		}
		for _, text := range oddTemplates() {
			tmpl, err := parseTemplate(text)
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			for _, query := range []string{"", "key=a%20b"} {
				c := &connector{opened: &opened{create: route{method: http.MethodPost, to: tmpl}, query: query}, now: time.Now}
				got, err := c.request(t.Context(), &connectors.Attempt{Update: events.Update{Key: key, Version: version}}, &c.create)
				want, wantErr := byParsing(t, text, key, version.String(), query)
				if (err == nil) != (wantErr == nil) {
					t.Fatalf("%s with %q and %s: %v, by parsing %v", text, key, version, err, wantErr)
				}
				if err != nil {
					continue
				}
				if got.URL.String() != want.URL.String() || got.URL.RequestURI() != want.URL.RequestURI() || got.URL.Host != want.URL.Host || got.Host != want.Host {
					t.Errorf("%s with %q and %s: %s to %s, by parsing %s to %s", text, key, version, got.URL, got.Host, want.URL, want.Host)
				}
			}
		}
	})
}

// TestExpandDoesNotShareChanges: the URL of one update is no part of another's,
// and a fixed one stays as it is whatever is added for a request.
func TestExpandDoesNotShareChanges(t *testing.T) {
	for _, text := range []string{"https://h/a?b=c", "https://h/{key}?b=c", "https://h/a?b={key}"} {
		tmpl, err := parseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		before, err := tmpl.expand("k1", "1", nil)
		if err != nil {
			t.Fatal(err)
		}
		was := before.String()
		c := &connector{opened: &opened{create: route{method: http.MethodPost, to: tmpl}, query: "key=x"}, now: time.Now}
		for range 2 {
			req, err := c.request(t.Context(), &connectors.Attempt{Update: events.Update{Key: "k2", Version: testAttempt().Version}}, &c.create)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(req.URL.RawQuery, "key=x") != 1 {
				t.Errorf("%s: the query is %s", text, req.URL.RawQuery)
			}
		}
		if before.String() != was {
			t.Errorf("%s became %s", was, before)
		}
	}
}

// TestHeaderNamesAreCanonical: net/http keeps headers under such names only, and
// those of events are the same headers.
func TestHeaderNamesAreCanonical(t *testing.T) {
	for ours, theirs := range map[string]string{
		sentSpecVersion: events.HeaderSpecVersion, sentID: events.HeaderID, sentSource: events.HeaderSource, sentType: events.HeaderType,
		sentSubject: events.HeaderSubject, sentVersion: events.HeaderVersion, sentOp: events.HeaderOp, sentBase: events.HeaderBase,
		sentDigest: HeaderDigest, sentTime: events.HeaderTime, sentTraceParent: events.HeaderTraceParent,
		sentTraceState: events.HeaderTraceState, sentContentType: events.HeaderContentType, HeaderAttempt: HeaderAttempt,
	} {
		if canonical := http.CanonicalHeaderKey(theirs); ours != canonical {
			t.Errorf("%s is sent as %s", canonical, ours)
		}
	}
}

// TestHeadersOfARequest: all that an update can have is there, beside what the
// configuration says, and no value is another's.
func TestHeadersOfARequest(t *testing.T) {
	tmpl, err := parseTemplate("https://h")
	if err != nil {
		t.Fatal(err)
	}
	c := &connector{
		opened: &opened{create: route{method: http.MethodPost, to: tmpl}, headers: http.Header{"User-Agent": {"extsync"}, "X-Tenant": {"a"}}}, now: time.Now,
	}
	a := testAttempt()
	req, err := c.request(t.Context(), &a, &c.create)
	if err != nil {
		t.Fatal(err)
	}
	if len(req.Header) != maxFields+2 {
		t.Errorf("%d headers: %v", len(req.Header), req.Header)
	}
	req.Header.Add(sentID, "another")
	want := http.Header{
		"User-Agent": {"extsync"}, "X-Tenant": {"a"}, "Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"},
		"Ce-Id": {a.ID, "another"}, "Ce-Source": {a.Source}, "Ce-Type": {a.Type}, "Ce-Subject": {a.Key}, "Ce-Entityversion": {"7"}, "Ce-Op": {"upsert"},
		"Ce-Baseversion": {"6"}, "Ce-Entitydigest": {a.Digest.String()}, "Ce-Time": {"2026-02-03T04:05:06.0000007Z"},
		"idempotency-key": {a.ID}, "Extsync-Attempt": {"3"}, "Traceparent": {a.TraceParent}, "Tracestate": {"vendor=1"},
	}
	if !reflect.DeepEqual(req.Header, want) {
		t.Errorf("got  %v\nwant %v", req.Header, want)
	}
}
