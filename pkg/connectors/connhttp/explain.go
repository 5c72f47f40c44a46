package connhttp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// errSample says that a sample is no answer.
var errSample = errors.New(`the sample is neither {"status": 200, "headers": {}, "body": {}} nor an answer as curl -i prints it`)

// explain holds the rules of a configuration against a sample of an answer.
func explain(ctx context.Context, config []byte, a connectors.Attempt, sample []byte) (connectors.Explanation, error) {
	decoded, err := Decode(config)
	if err != nil {
		return connectors.Explanation{}, connkit.Misconfigured("config", err)
	}
	r, err := sampleReply(sample)
	if err != nil {
		return connectors.Explanation{}, err
	}
	env := connectors.Host{}.Env(a.Channel).ForPreview(connectors.Hidden)
	conn, err := New(ctx, env, decoded)
	if err != nil {
		return connectors.Explanation{}, err
	}
	c, _ := conn.(*connector)
	defer func() { _ = c.Close(ctx) }() // it has called nobody
	r.limit(c.mostRead)
	out := connectors.Explanation{Result: c.judge(ctx, ctx, &a, c.routeOf(&a), r)}
	verdict := c.decide(ctx, &a, r)
	input := r.input(&a)
	for i := range c.rules {
		rule := &c.rules[i]
		look := connectors.RuleLook{Name: rule.name, When: decoded.Answers[i].When, Class: decoded.Answers[i].Class, Decides: verdict.by == rule}
		err := r.unfit(rule.readsBody, rule.readsText)
		if err == nil {
			look.Matches, err = rule.matches(ctx, &a, r, input)
		}
		if err != nil {
			look.Error = err.Error()
		}
		out.Rules = append(out.Rules, look)
	}
	return out, nil
}

// limit cuts a body as reading it would have done.
func (r *reply) limit(most int) {
	if len(r.body) >= most {
		r.body, r.cut = r.body[:most], true
	}
}

// sampleReply reads {"status", "headers", "body"}, or what curl -i prints.
func sampleReply(sample []byte) (*reply, error) {
	sample = bytes.TrimLeft(sample, " \t\r\n")
	if bytes.HasPrefix(sample, []byte("HTTP/")) {
		return printedReply(sample)
	}
	var s struct {
		Status  int             `json:"status"`
		Headers map[string]any  `json:"headers"`
		Body    json.RawMessage `json:"body"`
	}
	dec := json.NewDecoder(bytes.NewReader(sample))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil || s.Status < 100 || s.Status > 999 {
		return nil, errSample
	}
	r := &reply{status: s.Status, header: http.Header{}, body: s.Body}
	for name, value := range s.Headers {
		values, several := value.([]any)
		if !several {
			values = []any{value}
		}
		for _, v := range values {
			r.header.Add(name, fmt.Sprint(v))
		}
	}
	var text string
	if json.Unmarshal(s.Body, &text) == nil { // null gives an empty text
		r.body = []byte(text)
	}
	return r, nil
}

// printedReply reads the last answer of those that curl -i has printed: a redirect and 100
// come before it. Its body is decoded already, whatever the headers say of it.
func printedReply(sample []byte) (*reply, error) {
	for {
		text := bufio.NewReader(bytes.NewReader(sample))
		lines := textproto.NewReader(text)
		first, err := lines.ReadLine()
		if err != nil {
			return nil, errSample
		}
		words := strings.Fields(first)
		if len(words) < 2 {
			return nil, errSample
		}
		status, err := strconv.Atoi(words[1])
		if err != nil || status < 100 || status > 999 {
			return nil, errSample
		}
		header, err := lines.ReadMIMEHeader()
		if err != nil && len(header) == 0 && text.Buffered() > 0 {
			return nil, errSample
		}
		var body bytes.Buffer
		_, _ = text.WriteTo(&body) // a buffer takes all
		if sample = body.Bytes(); !bytes.HasPrefix(sample, []byte("HTTP/")) {
			return &reply{status: status, header: http.Header(header), body: sample}, nil
		}
	}
}
