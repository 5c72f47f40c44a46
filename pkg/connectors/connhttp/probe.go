package connhttp

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Probe asks the probe URL. Only a 2xx answer is well.
func (p *prober) Probe(parent context.Context) error {
	ctx, cancel := p.bounded(parent)
	defer cancel()
	res := p.ask(parent, ctx)
	if res.Class == connectors.OK {
		return nil
	}
	return &connectors.Error{Class: res.Class, Code: res.Code, Err: res.Err}
}

func (p *prober) ask(parent, ctx context.Context) connectors.Result {
	name := http.MethodGet + " " + p.probe.host
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.probe.text, http.NoBody)
	if err != nil {
		return connectors.Failed(connectors.Misconfigured, "config", fmt.Errorf("no request can be made for %s", p.probe.host))
	}
	req.Header = p.headers.Clone()
	if p.query != "" {
		req.URL.RawQuery = joinQuery(req.URL.RawQuery, p.query)
	}
	token, fresh, err := p.authorize(ctx, req)
	if err != nil {
		return p.tokenFailed(parent, ctx, err)
	}
	answer, err := p.transport.RoundTrip(req)
	if err != nil {
		return p.failed(parent, ctx, name, err)
	}
	defer func() { _ = answer.Body.Close() }() // only read from
	if _, err := readBody(answer); err != nil {
		return p.failed(parent, ctx, name, err)
	}
	if answer.StatusCode/100 == 2 {
		return connectors.Done()
	}
	class := connectors.Transient
	if p.standard.classify(answer.StatusCode, "", false) == connectors.Misconfigured {
		class = connectors.Misconfigured
	}
	if answer.StatusCode == http.StatusUnauthorized && p.tokens != nil {
		p.tokens.drop(token)
		if !fresh {
			class = connectors.Transient
		}
	}
	return connectors.Failed(class, strconv.Itoa(answer.StatusCode),
		fmt.Errorf("%s answered %d %s", name, answer.StatusCode, http.StatusText(answer.StatusCode)))
}
