package connhttp

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// A Shape says how requests of one purpose are made.
type Shape struct {
	// Method is POST, PUT or PATCH, of deletes also DELETE. Default: Config.Method, of
	// deletes DELETE.
	Method string `yaml:"method" json:"method,omitempty" enum:"POST,PUT,PATCH,DELETE" doc:"The method of the request; DELETE is for deletes only. Defaults to the channel's method, of deletes to DELETE."`
	// URL is as Config.URL. Default: Config.URL.
	URL connectors.Ref `yaml:"url" json:"url,omitempty" format:"url-template" example:"https://target.example/appointments/{key}" doc:"The request goes to this address; {ref.NAME} stands for a remembered value in update and delete. Defaults to the channel's url."`
	// Headers are sent besides those of Config, or in their place. {ref.NAME} stands for a
	// remembered value, in Update and Delete. They hold no secrets.
	Headers map[string]string `yaml:"headers" json:"headers,omitempty" example:"{If-None-Match: '*'}" doc:"Headers of the request, besides the channel's or in their place; {ref.NAME} stands for a remembered value in update and delete. They hold no secrets."`
}

// or returns the shape with what it leaves out taken from another one, which is the whole
// of nil. The shape itself stays as it is.
func (s *Shape) or(other Shape) *Shape {
	if s == nil {
		return &other
	}
	out := *s
	setDefault(&out.Method, other.Method)
	setDefault(&out.URL, other.URL)
	return &out
}

// shapes returns the shapes by their names. The configuration has its defaults.
func (c *Config) shapes() map[string]*Shape {
	return map[string]*Shape{"create": c.Create, "update": c.Update, "delete": c.Delete}
}

// A route is where and how requests of one shape go.
type route struct {
	method  string
	to      template
	headers []headerTemplate
	refs    []string // names of the remembered values that it needs
	// purpose is part of the id by which the target knows repetitions: an update that comes
	// after a create of the same version is another request.
	purpose string
	// conditional: a header asks the target to compare.
	conditional bool
}

// A headerTemplate is a header whose value has placeholders of remembered values.
type headerTemplate struct{ name, text string }

// route returns the shape with its URL resolved.
func (s *Shape) route(to string) (r route, err error) {
	r.method = s.Method
	if r.to, err = parseTemplate(to); err != nil {
		return r, err
	}
	r.refs = r.to.refs()
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		r.headers = append(r.headers, headerTemplate{http.CanonicalHeaderKey(name), s.Headers[name]})
		for _, placeholder := range bracePattern.FindAllString(s.Headers[name], -1) {
			if ref, ok := refName(placeholder); ok {
				r.refs = append(r.refs, ref)
			}
		}
		r.conditional = r.conditional || strings.HasPrefix(http.CanonicalHeaderKey(name), "If-")
	}
	return r, nil
}

// name says which call an error is about: the method and the host, never the path or the
// query, which can hold secrets.
func (r *route) name() string { return r.method + " " + r.to.host }

// knows reports whether all is known that the route needs.
func (r *route) knows(refs connectors.Refs) bool {
	for _, name := range r.refs {
		if refs[name] == "" {
			return false
		}
	}
	return true
}

// standIns returns placeholders in the place of remembered values, for previews.
func (r *route) standIns() connectors.Refs {
	out := connectors.Refs{}
	for _, name := range r.refs {
		out[name] = refPlaceholder + name + "}"
	}
	return out
}

// appendHeaders appends the headers of the route.
func (r *route) appendHeaders(out []headerField, refs connectors.Refs) ([]headerField, error) {
	for _, h := range r.headers {
		value := bracePattern.ReplaceAllStringFunc(h.text, func(placeholder string) string {
			if name, ok := refName(placeholder); ok {
				return refs[name]
			}
			return placeholder
		})
		if !httpkit.ValidHeaderValue(value) {
			return nil, fmt.Errorf("the remembered values cannot be sent in the header %s", h.name)
		}
		out = append(out, headerField{h.name, value})
	}
	return out, nil
}

var refNamePattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)

// checkRefName returns an error if a remembered value cannot have this name.
func checkRefName(name string) error {
	if !refNamePattern.MatchString(name) {
		return fmt.Errorf("%q is no name: a letter, then letters, digits and _, in lower case, at most 32", name)
	}
	return nil
}

// checkShapes looks at the shapes and at the lookup.
func (c Config) checkShapes(p *connectors.Problems) {
	names := c.remembered()
	for _, name := range slices.Sorted(maps.Keys(c.shapes())) {
		s := c.shapes()[name]
		if s.URL != c.URL { // it has been looked at already
			checkURL(p, name+".url", s.URL, true)
		}
		if s.Method == http.MethodDelete && name != "delete" {
			p.Add(name+".method", "only deletes are sent by DELETE")
		}
		s.checkHeaders(p, name)
		r, err := s.route(connkit.Sample(s.URL))
		if err != nil {
			continue // said already
		}
		for _, ref := range r.refs {
			switch {
			case name == "create":
				p.Add(name, "{ref.%s} means nothing here: nothing is remembered yet; write it in update or delete", ref)
			case !names[ref]:
				p.Add(name, "{ref.%s} is never there: no remember has this name", ref)
			}
		}
	}
	if r, err := c.Delete.route(connkit.Sample(c.Delete.URL)); err == nil && len(r.refs) > 0 && c.Lookup.URL == "" && len(c.Read.Remember) == 0 {
		p.Add("lookup", "it is missing: delete names {ref.%s}, and where it is not remembered only lookup, or read with remember, can tell what there is to delete", r.refs[0])
	}
	c.Lookup.check(p)
}

func (s *Shape) checkHeaders(p *connectors.Problems, shape string) {
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		path, canonical := shape+".headers."+name, http.CanonicalHeaderKey(name)
		switch {
		case !httpkit.ValidHeaderName(name):
			p.Add(path, "it is not the name of a header")
		case reservedHeader(canonical):
			p.Add(path, "the connector sets this header itself")
		case connkit.SecretHeader(canonical):
			p.Add(path, "credentials belong into auth or headers")
		case !httpkit.ValidHeaderValue(s.Headers[name]):
			p.Add(path, "its value has characters that a header cannot carry")
		}
		for _, placeholder := range bracePattern.FindAllString(s.Headers[name], -1) {
			if _, isRef := refName(placeholder); !isRef || !knownPlaceholder(placeholder) {
				p.Add(path, "braces can hold only {ref.NAME}")
			}
		}
	}
}

// remembered returns the names of all values that some answer can give.
func (c Config) remembered() map[string]bool {
	out := map[string]bool{}
	for _, list := range append([]map[string]string{c.Lookup.Remember, c.Read.Remember}, rememberedBy(c.Answers)...) {
		for name := range list {
			out[name] = true
		}
	}
	return out
}

func rememberedBy(rules []Answer) (out []map[string]string) {
	for _, a := range rules {
		out = append(out, a.Remember)
	}
	return out
}

// dependsOnRefs reports whether a request can depend on what is remembered, or on what the
// target has.
func (c Config) dependsOnRefs() bool {
	for _, s := range c.shapes() {
		if len(s.Headers) > 0 {
			return true
		}
	}
	return c.Update.URL != c.Create.URL || c.Update.Method != c.Create.Method || c.Lookup.URL != "" || len(c.remembered()) > 0
}
