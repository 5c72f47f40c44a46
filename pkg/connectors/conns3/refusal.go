package conns3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// Codes of S3 that the connector itself looks for.
const (
	codeNoKey    = "NoSuchKey"
	codeNoBucket = "NoSuchBucket"
)

// refusal is the document that a store sends with an error.
type refusal struct {
	XMLName xml.Name `xml:"Error"`
	Code    string
	Message string
}

var codeForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// parseRefusal reads the body of an error. What is no such document gives an empty one.
func parseRefusal(body []byte) (r refusal) {
	if xml.Unmarshal(body, &r) != nil || !codeForm.MatchString(r.Code) {
		return refusal{}
	}
	return r
}

// refused is the result of an answer that is no success.
func (c *client) refused(method string, answer *http.Response) *connectors.Result {
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxRefusal)) // what there is of it will do
	r := parseRefusal(body)
	code := r.Code
	if code == "" {
		code = strconv.Itoa(answer.StatusCode)
	}
	m := meaningOf(code, answer.StatusCode)
	text := fmt.Sprintf("%s %s answered %d", method, c.bucket.Host, answer.StatusCode)
	if r.Code != "" {
		text += " " + r.Code
	}
	if m.What != "" {
		text += ": " + m.What
	}
	res := failed(m.Class, code, errors.New(text))
	res.Response = c.scrubber.Excerpt([]byte(r.Message), connectors.MaxResponse, false)
	if res.Class != connectors.Permanent {
		res.RetryAfter = httpkit.RetryAfter(answer.Header, time.Now())
	}
	return res
}
