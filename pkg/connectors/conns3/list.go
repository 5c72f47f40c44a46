package conns3

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/hms-utl/extsync/pkg/connectors"
)

const (
	// mostListed is what a store gives at a time at most.
	mostListed = 1000
	// maxPage bounds what is read of it, in bytes: names of 1024 bytes, each escaped.
	maxPage = 8 << 20
)

// A place says which names are to be listed.
type place struct {
	prefix, after, token string
	most                 int
}

// page is a part of a list.
type page struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	EncodingType          string
	IsTruncated           bool
	NextContinuationToken string
	Contents              []struct{ Key string }
}

// parsePage reads a part of a list.
func parsePage(body []byte) (p page, err error) {
	if err := xml.Unmarshal(body, &p); err != nil {
		return page{}, errors.New("it is not a list of objects")
	}
	if p.EncodingType != "url" {
		return p, nil
	}
	for i := range p.Contents {
		if p.Contents[i].Key, err = url.QueryUnescape(p.Contents[i].Key); err != nil {
			return page{}, errors.New("a name in it is not escaped as it says")
		}
	}
	return p, nil
}

// list returns names that begin with the prefix and have no slash behind it.
func (c *client) list(ctx context.Context, at place) (page, *connectors.Result) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	query := url.Values{
		"list-type": {"2"}, "delimiter": {"/"}, "encoding-type": {"url"}, "prefix": {at.prefix}, "max-keys": {strconv.Itoa(at.most)},
	}
	if at.token != "" {
		query.Set("continuation-token", at.token)
	} else if at.after != "" {
		query.Set("start-after", at.after)
	}
	answer, res := c.do(ctx, http.MethodGet, "", query, http.Header{}, nil)
	if res != nil {
		return page{}, res
	}
	defer func() { _ = answer.Body.Close() }() // only read from
	if answer.StatusCode != http.StatusOK {
		return page{}, c.refused(http.MethodGet, answer)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxPage))
	if err != nil {
		return page{}, c.unanswered(ctx, http.MethodGet, err)
	}
	p, err := parsePage(body)
	if err != nil {
		return page{}, failed(connectors.Misconfigured, "list", fmt.Errorf("GET %s: what it answers is no list of objects: %w", c.bucket.Host, err))
	}
	return p, nil
}

// List returns the next keys, in the order of the names of their objects. Objects that the
// platform did not write are left out.
func (c *connector) List(ctx context.Context, after string, limit int) (keys []string, err error) {
	at := place{prefix: c.names.prefix, most: min(limit, mostListed)}
	if after != "" {
		if at.after, err = c.names.of(after); err != nil {
			return nil, &connectors.Error{Class: connectors.Permanent, Code: "key", Err: err}
		}
	}
	for {
		p, res := c.client.list(ctx, at)
		if res != nil {
			return nil, asError(res)
		}
		for _, o := range p.Contents {
			key, ok, err := c.keyOf(ctx, o.Key)
			if err != nil {
				return nil, err
			}
			if ok {
				keys = append(keys, key)
			}
			if len(keys) == limit {
				return keys, nil
			}
		}
		if !p.IsTruncated {
			return keys, nil
		}
		if p.NextContinuationToken == "" || p.NextContinuationToken == at.token {
			return nil, asError(failed(connectors.Transient, "list", errors.New("the store does not say how its list goes on")))
		}
		at.token = p.NextContinuationToken
	}
}

// keyOf returns the key of an object, false if it has none. Of a name that holds a hash
// the metadata tell.
func (c *connector) keyOf(ctx context.Context, name string) (key string, ok bool, err error) {
	key, err = c.names.key(name)
	if !errors.Is(err, errHashed) {
		return key, err == nil, nil
	}
	ctx, cancel := c.client.bounded(ctx)
	defer cancel()
	there, res := c.client.head(ctx, name)
	if res != nil {
		return "", false, asError(res)
	}
	if key, ok = there.key(); !ok {
		return "", false, nil
	}
	again, err := c.names.of(key)
	return key, err == nil && again == name, nil
}
