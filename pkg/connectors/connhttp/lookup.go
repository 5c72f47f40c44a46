package connhttp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connkit/httpkit"
)

// Lookup asks the target, by GET, for the object of a key of which nothing is remembered
// although there may be one: an answer may have been lost.
type Lookup struct {
	// URL has {key} in its path or query. Required, for the lookup to be there.
	URL connectors.Ref `yaml:"url" json:"url,omitempty" required:"true" format:"url-template" example:"https://target.example/appointments?external_id={key}" doc:"GET of this address finds the object of a key; {key} stands for the key."`
	// Found is a jq expression over {op, attempt, status, headers, body, text, ref} of a
	// 2xx answer: there is an object unless it gives false, null or nothing. Default: 2xx
	// says that there is one, 404 and 410 that there is none. With Found these two say no
	// more than that the target does not answer.
	Found string `yaml:"found" json:"found,omitempty" format:"jq" example:".body.total > 0" doc:"Takes a 2xx answer; there is an object unless it gives false, null or nothing. Without it 2xx says that there is one, 404 and 410 that there is none."`
	// Remember gives the values that update and delete want, as Answer.Remember. Each must
	// be there. Required.
	Remember map[string]string `yaml:"remember" json:"remember,omitempty" required:"true" format:"jq" example:"{id: '.body.items[0].id'}" doc:"The values that update and delete want, by expressions over the answer. Each must be there."`
	// After is how long the target may take until it finds what was created. A create waits
	// so long after a call whose answer was lost, and looks again. Default: 0.
	After connectors.Duration `yaml:"after" json:"after,omitzero" min:"0s" max:"1h" example:"5s" advanced:"true" doc:"The target may take so long until it finds a new object. After a lost answer a create waits so long, and looks again; too short a wait creates a second object."`
}

// lookup is a Lookup that was compiled.
type lookup struct {
	to       template
	found    *rule
	remember []memory
	after    time.Duration
	// readsBody: without a JSON document it cannot be told what there is.
	readsBody bool
}

func (l Lookup) check(p *connectors.Problems) {
	l.compile(p)
	if l.URL == "" {
		return // said already, if there is a lookup
	}
	if err := connkit.CheckURL(l.URL); err != nil {
		p.Add("lookup.url", "%v", err)
	} else if _, err := parseReadURL(connkit.Sample(l.URL)); err != nil {
		p.Add("lookup.url", "%v", err)
	}
}

// compile returns the lookup but for its URL, nil if there is none.
func (l Lookup) compile(p *connectors.Problems) *lookup {
	found, err := compileRule(l.Found)
	if err != nil {
		p.Add("lookup.found", "%v", err)
	}
	out := &lookup{found: found, remember: compileMemories("lookup.remember", l.Remember, p), after: l.After.D()}
	if l.URL == "" {
		return nil
	}
	out.readsBody = mention(append(slices.Collect(maps.Values(l.Remember)), l.Found), "body")
	return out
}

// look asks the target for the object of an attempt's key. refs are nil if there is none;
// failed is not nil if that cannot be known.
func (c *connector) look(parent, ctx context.Context, a *connectors.Attempt) (refs connectors.Refs, failed *connectors.Result) {
	l := c.lookup
	to, err := l.to.expand(a.Key, "", nil)
	if err != nil {
		res := connectors.Unasked("request", err)
		return nil, &res
	}
	r, err := c.fetch(parent, ctx, to, nil)
	if err != nil {
		res := resultOf(err)
		return nil, &res
	}
	fail := func(class connectors.Class, format string, args ...any) (connectors.Refs, *connectors.Result) {
		res := connectors.Failed(class, codeLookup, fmt.Errorf("GET "+to.Host+": "+format, args...))
		res.Response = c.excerpt(r, class)
		return nil, &res
	}
	switch {
	case l.found == nil && absent(r.status):
		return nil, nil
	case r.status/100 != 2:
		res := c.unanswered(r, to.Host)
		return nil, &res
	case r.cut:
		return fail(connectors.Misconfigured, "lookup: %w", errCut)
	}
	input := r.input(a)
	if l.readsBody && (len(r.body) == 0 || r.odd != nil) { // it does not say that there is none
		return fail(connectors.Transient, "lookup: %w", errNotJSON)
	}
	if l.found != nil {
		switch found, err := l.found.holds(ctx, input); {
		case err != nil:
			return fail(connectors.Transient, "lookup.found: %w", err)
		case !found:
			return nil, nil
		}
	}
	refs = c.memorize(ctx, l.remember, input)
	for _, m := range l.remember {
		if refs[m.name] == "" {
			return fail(connectors.Misconfigured, "lookup.remember.%s gives nothing that can be kept", m.name)
		}
	}
	return refs, nil
}

// codeLookup is the code of an attempt that failed because it is not known what the target
// has.
const codeLookup = "lookup"

// classOfLook returns the class of a status that does not answer a lookup. It says nothing
// of the update.
func classOfLook(status int) connectors.Class {
	if class := httpkit.ClassOf(status, false); waiting(class) {
		return class
	}
	return connectors.Misconfigured
}

// unanswered is the result of an attempt that ended because the target did not say what it
// has.
func (c *connector) unanswered(r *reply, host string) connectors.Result {
	res := resultOf(statusError(classOfLook(r.status), host, r.status))
	res.RetryAfter = httpkit.RetryAfter(r.header, c.now())
	res.Response = c.excerpt(r, res.Class)
	return res
}

// resultOf returns the result that an error of asError stands for.
func resultOf(err error) connectors.Result {
	var e *connectors.Error
	if errors.As(err, &e) {
		return connectors.Failed(e.Class, e.Code, e.Err)
	}
	return connectors.Failed(connectors.Transient, codeLookup, err)
}

// lostCalls remember when answers were lost, for as long as a target may not find what was
// created. The zero value is ready, and safe for concurrent use.
type lostCalls struct {
	mu sync.Mutex
	at map[string]time.Time
}

const (
	// maxLost bounds the keys of lostCalls. One that is not there waits once more.
	maxLost = 10_000
	// lostFor is how long a moment counts behind the time that the target may take: later
	// another worker can have lost an answer of its own.
	lostFor = 10 * time.Minute
)

// note says that an answer was lost just now.
func (l *lostCalls) note(key string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at == nil || len(l.at) >= maxLost {
		l.at = map[string]time.Time{}
	}
	l.at[key] = now
}

// wait returns how long what the target does not find is not to be created yet. Once it
// gives 0 the moment is forgotten. A moment that nobody noted is now.
func (l *lostCalls) wait(key string, now time.Time, after time.Duration) time.Duration {
	if after == 0 {
		return 0
	}
	l.mu.Lock()
	at, noted := l.at[key]
	since := now.Sub(at)
	if noted && since >= after && since < after+lostFor {
		delete(l.at, key)
		l.mu.Unlock()
		return 0
	}
	l.mu.Unlock()
	if noted && since < after {
		return after - since
	}
	l.note(key, now)
	return after
}

// notYet is the result of an attempt that waits until the target would have found what an
// earlier one created.
func notYet(to *route, wait time.Duration) connectors.Result {
	res := connectors.Failed(connectors.Unready, codeLookup, fmt.Errorf(
		"%s: the target finds no object of the key, and may find one that an unanswered call created for another %s (lookup.after)", to.name(), wait.Round(time.Second)))
	res.RetryAfter = wait
	return res
}
