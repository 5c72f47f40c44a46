package conncaldav

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

const (
	contentType = "text/calendar; charset=utf-8"
	// maxWords bounds what is read of an answer that is no object, in bytes.
	maxWords = 64 << 10
)

// request makes a request about an object, or about the calendar if name is "".
func (c *connector) request(ctx context.Context, method, name string, body []byte) (*http.Request, error) {
	u := *c.calendar
	u.Path += name
	if u.RawPath != "" {
		u.RawPath += name // a name has nothing that is to be escaped in a path
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("no request can be made for the URL") // the cause repeats it
	}
	req.Header.Set("User-Agent", "extsync")
	if c.authorize != "" {
		req.Header.Set("Authorization", c.authorize)
	}
	return req, nil
}

// An answer is what a server said.
type answer struct {
	status int
	header http.Header
	body   []byte
	cut    bool // the body goes on
}

// do makes a request, and reads up to most bytes of the answer's body. The result says why
// there is no answer, nil if there is one.
func (c *connector) do(req *http.Request, most int) (answer, *connectors.Result) {
	ctx, to := req.Context(), req.Method+" "+c.calendar.Host
	got, err := c.transport.RoundTrip(req)
	if err != nil {
		return answer{}, unanswered(ctx, to, err)
	}
	defer func() { _ = got.Body.Close() }() // only read from
	a := answer{status: got.StatusCode, header: got.Header}
	a.body, a.cut, err = httpkit.ReadBody(got, most)
	if errors.Is(err, httpkit.ErrEncoding) {
		return a, failed(connectors.Transient, "unread", fmt.Errorf("%s answered %d: %w", to, a.status, httpkit.ErrEncoding))
	}
	if err != nil {
		return a, unanswered(ctx, fmt.Sprintf("%s answered %d, but the answer broke off", to, a.status), err)
	}
	return a, nil
}

func unanswered(ctx context.Context, to string, err error) *connectors.Result {
	res := httpkit.Unanswered(ctx, ctx, to, connkit.Diagnose(err), err)
	return &res
}

func failed(class connectors.Class, code string, err error) *connectors.Result {
	res := connectors.Failed(class, code, err)
	return &res
}

func asError(res *connectors.Result) error {
	return &connectors.Error{Class: res.Class, Code: res.Code, Err: res.Err}
}

// get reads an object; the zero object is none.
func (c *connector) get(ctx context.Context, name string) (object, *connectors.Result) {
	req, err := c.request(ctx, http.MethodGet, name, nil)
	if err != nil {
		return object{}, failed(connectors.Misconfigured, "config", err)
	}
	a, res := c.do(req, maxObject)
	switch {
	case res != nil:
		return object{}, res
	case a.status == http.StatusNotFound || a.status == http.StatusGone:
		return object{}, nil
	case a.status != http.StatusOK:
		return object{}, c.refused(http.MethodGet, a)
	case a.cut:
		// What is in the rest may be the version, so nobody may write over it.
		return object{}, failed(connectors.Conflict, "too_large", fmt.Errorf("the calendar has an object of more than %d KiB", maxObject>>10))
	}
	etag := a.header.Get("ETag")
	if etag == "" {
		return object{}, failed(connectors.Misconfigured, "no_etag", fmt.Errorf("%s gives objects no ETag: nothing can be written under a condition", c.calendar.Host))
	}
	return objectOf(etag, a.body), nil
}

// put writes an object if the calendar still holds what was read. changed says that it does
// not, and nothing was written.
func (c *connector) put(ctx context.Context, name string, there *object, body []byte) (changed bool, res *connectors.Result) {
	req, err := c.request(ctx, http.MethodPut, name, body)
	if err != nil {
		return false, failed(connectors.Misconfigured, "config", err)
	}
	condition(req.Header, there.Mark)
	a, res := c.do(req, maxWords)
	if a.status == http.StatusOK || a.status == http.StatusCreated || a.status == http.StatusNoContent {
		return false, nil // whatever became of the body
	}
	if res != nil {
		return false, res
	}
	res = c.refused(http.MethodPut, a)
	switch res.Code {
	case codeChanged:
		if weak(there.Mark) {
			res.Class, res.Code = connectors.Misconfigured, "weak_etag"
			res.Err = fmt.Errorf("%s gives objects weak ETags only, or something on the way weakens them: nothing can be written under a condition", c.calendar.Host)
		}
		return true, res
	case "no-uid-conflict": // of an object that somebody else has just made there, perhaps
		return there.Mark == "", res
	default:
		return false, res
	}
}

// condition sets the headers that let a PUT through only if the calendar holds what was
// read.
func condition(h http.Header, etag string) {
	h.Set("Content-Type", contentType)
	if etag == "" {
		h.Set("If-None-Match", "*")
		return
	}
	// If-Match never holds for a weak ETag (RFC 9110, section 13.1.1). If only a proxy has
	// weakened it, the server knows the strong one.
	h.Set("If-Match", strings.TrimPrefix(etag, "W/"))
}

func weak(etag string) bool { return strings.HasPrefix(etag, "W/") }

// asked is what is to be told of a calendar, and described what is told.
const asked = xml.Header + `<propfind xmlns="DAV:"><prop><resourcetype/></prop></propfind>`

type described struct {
	XMLName   xml.Name `xml:"DAV: multistatus"`
	Calendars []struct {
		Is *struct{} `xml:"urn:ietf:params:xml:ns:caldav calendar"`
	} `xml:"response>propstat>prop>resourcetype"`
}

// probe looks whether the URL is that of a calendar.
func (c *connector) probe(ctx context.Context) *connectors.Result {
	req, err := c.request(ctx, "PROPFIND", "", []byte(asked))
	if err != nil {
		return failed(connectors.Misconfigured, "config", err)
	}
	req.Header.Set("Depth", "0")
	req.Header.Set("Content-Type", "application/xml; charset=utf-8")
	a, res := c.do(req, maxWords)
	if res != nil {
		return res
	}
	if status, _ := a.read(); status != http.StatusMultiStatus {
		return c.refused(req.Method, a)
	}
	var d described
	if err := xml.Unmarshal(a.body, &d); err == nil {
		for _, r := range d.Calendars {
			if r.Is != nil {
				return nil
			}
		}
	}
	return failed(connectors.Misconfigured, codeNoCalendar, fmt.Errorf("what %s has at the URL is no calendar", c.calendar.Host))
}

// ensure probes until it was a calendar once.
func (c *connector) ensure(ctx context.Context) *connectors.Result {
	if c.known.Load() {
		return nil
	}
	res := c.probe(ctx)
	if res == nil {
		c.known.Store(true)
	}
	return res
}
