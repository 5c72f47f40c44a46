package conns3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

const (
	headerSum   = "X-Amz-Content-Sha256"
	headerCheck = "X-Amz-Checksum-Sha256"
	// maxRefusal bounds what is read of an answer that is no success, in bytes.
	maxRefusal = 64 << 10
)

// A client makes requests to a bucket, each once. It is safe for concurrent use.
type client struct {
	bucket      url.URL // without a slash at its end
	region      string
	headers     http.Header // of each object
	credentials aws.Credentials
	signer      *v4.Signer
	transport   httpkit.Transport
	scrubber    *connectors.Scrubber
	timeout     time.Duration // of a call
}

// request makes a signed request about an object, or about the bucket if name is "".
func (c *client) request(ctx context.Context, method, name string, query url.Values, header http.Header, body []byte) (*http.Request, error) {
	u := c.bucket
	u.Path += "/" + name
	u.RawPath, u.RawQuery = escapePath(u.Path), query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("no request can be made for the endpoint") // the cause repeats the URL
	}
	req.Header = header
	req.Header.Set("User-Agent", "extsync")
	sum := sha256.Sum256(body)
	req.Header.Set(headerSum, hex.EncodeToString(sum[:]))
	if method == http.MethodPut { // a bucket that locks objects wants one
		req.Header.Set(headerCheck, base64.StdEncoding.EncodeToString(sum[:]))
	}
	return req, nil
}

// do makes a request. The result says why there is no answer, nil if there is one, whose
// body the caller closes.
func (c *client) do(ctx context.Context, method, name string, query url.Values, header http.Header, body []byte) (*http.Response, *connectors.Result) {
	req, err := c.request(ctx, method, name, query, header, body)
	if err == nil {
		err = c.signer.SignHTTP(ctx, c.credentials, req, req.Header.Get(headerSum), "s3", c.region, time.Now())
	}
	if err != nil {
		return nil, failed(connectors.Misconfigured, "config", err)
	}
	// Not by an http.Client, which follows redirects.
	answer, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, c.unanswered(ctx, method, err)
	}
	return answer, nil
}

// escapePath escapes a path as signatures want it: all but letters, digits, '-', '_', '.',
// '~' and slashes.
func escapePath(path string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(path), "%2F", "/"), "+", "%20")
}

// bounded bounds a call by the channel's timeout.
func (c *client) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return connkit.Bounded(ctx, c.timeout)
}

// unanswered is the result of a request without an answer.
func (c *client) unanswered(ctx context.Context, method string, err error) *connectors.Result {
	res := httpkit.Unanswered(ctx, ctx, method+" "+c.bucket.Host, connkit.Diagnose(err), err)
	return &res
}

func failed(class connectors.Class, code string, err error) *connectors.Result {
	res := connectors.Failed(class, code, err)
	return &res
}

func asError(res *connectors.Result) error {
	return &connectors.Error{Class: res.Class, Code: res.Code, Err: res.Err}
}

// head returns what the store holds under a name, as its metadata say.
func (c *client) head(ctx context.Context, name string) (state, *connectors.Result) {
	answer, res := c.do(ctx, http.MethodHead, name, nil, http.Header{}, nil)
	if res != nil {
		return state{}, res
	}
	_ = answer.Body.Close() // it has none
	switch {
	case answer.StatusCode == http.StatusOK:
		return c.described(answer.Header)
	case answer.StatusCode == http.StatusNotFound:
		return state{}, nil
	case answer.StatusCode < 300 || answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests:
		return state{}, c.refused(http.MethodHead, answer)
	}
	// The answer to HEAD has no body, which would say what is wrong. That to GET has.
	header := http.Header{"Range": {"bytes=0-0"}}
	second, res := c.do(ctx, http.MethodGet, name, nil, header, nil)
	if res != nil {
		return state{}, res
	}
	defer func() { _ = second.Body.Close() }() // only read from
	if second.StatusCode < 300 {
		return state{}, c.refused(http.MethodHead, answer)
	}
	return state{}, c.refused(http.MethodGet, second)
}

// described returns the state that the header of an object describes.
func (c *client) described(h http.Header) (state, *connectors.Result) {
	if h.Get("ETag") == "" {
		return state{}, failed(connectors.Misconfigured, "no_etag", fmt.Errorf("%s gives objects no ETag: nothing can be written under a condition", c.bucket.Host))
	}
	return stateOf(h), nil
}

// get returns what the store holds under a name, and up to most bytes of its content.
func (c *client) get(ctx context.Context, name string, most int64) (state, []byte, *connectors.Result) {
	answer, res := c.do(ctx, http.MethodGet, name, nil, http.Header{}, nil)
	if res != nil {
		return state{}, nil, res
	}
	defer func() { _ = answer.Body.Close() }() // only read from
	if answer.StatusCode == http.StatusNotFound {
		if res := c.refused(http.MethodGet, answer); res.Code == codeNoBucket {
			return state{}, nil, res
		}
		return state{}, nil, nil
	}
	if answer.StatusCode != http.StatusOK {
		return state{}, nil, c.refused(http.MethodGet, answer)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err != nil {
		return state{}, nil, c.unanswered(ctx, http.MethodGet, err)
	}
	s, res := c.described(answer.Header)
	return s, body, res
}

// put writes an object if the store still holds what was read. changed says that it does
// not, and nothing was written.
func (c *client) put(ctx context.Context, o object, there *state) (changed bool, res *connectors.Result) {
	header := o.header.Clone()
	condition(header, there)
	answer, res := c.do(ctx, http.MethodPut, o.name, nil, header, o.body)
	if res != nil {
		return false, res
	}
	defer func() { _ = answer.Body.Close() }() // only read from
	if answer.StatusCode == http.StatusOK {
		_, _ = io.CopyN(io.Discard, answer.Body, maxRefusal) // so that the connection can be used again
		return false, nil
	}
	res = c.refused(http.MethodPut, answer)
	// Of an object that is not there any more, AWS says 404 to If-Match, Ceph 412.
	gone := there.there() && res.Code == codeNoKey
	return answer.StatusCode == http.StatusPreconditionFailed || gone, res
}

// condition sets the header that lets a PUT through only if the store holds what was read.
func condition(header http.Header, there *state) {
	if there.there() {
		header.Set("If-Match", there.Mark)
		return
	}
	header.Set("If-None-Match", "*")
}
