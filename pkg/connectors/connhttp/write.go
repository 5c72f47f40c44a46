package connhttp

import (
	"bytes"
	"context"
	"fmt"
	"maps"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// codeAbsent is the code of a delete of which nothing is known, and nothing to be found.
const codeAbsent = "absent"

// routeFor returns the route of an attempt by what is remembered of its key.
func (c *connector) routeFor(a *connectors.Attempt) *route {
	if a.Op == events.Upsert && len(a.Refs) > 0 && c.update.knows(a.Refs) {
		return &c.update
	}
	return c.routeOf(a)
}

// write makes an attempt whose request depends on what is remembered of its key. It may
// take more than one request, each made once: look for the object, write, read it if the
// target refuses, write again.
func (c *connector) write(parent, ctx context.Context, a connectors.Attempt) connectors.Result {
	w := &writing{c: c, parent: parent, ctx: ctx, held: a.Refs, a: a}
	to := c.routeFor(&w.a)
	if to != &c.update && (to != &c.remove || !to.knows(a.Refs)) {
		if res, done := w.find(to); done {
			return res
		}
		to = c.routeFor(&w.a)
	}
	return w.send(to)
}

// A writing is one attempt on its way.
type writing struct {
	c           *connector
	parent, ctx context.Context
	a           connectors.Attempt // its Refs are those that are used
	held        connectors.Refs    // what the engine has
	again       bool               // the target has refused once
}

// find looks for an object of which nothing is known, where there may be one. Afterwards
// Refs are what was found. done says that nothing is to be sent.
func (w *writing) find(to *route) (res connectors.Result, done bool) {
	remove := w.a.Op == events.Delete
	if w.c.lookup == nil {
		if !remove {
			return res, false // the target must tell that it has it already
		}
		return w.read(to, connectors.Result{Code: codeAbsent}), true
	}
	if !w.a.Unsure && len(w.a.Refs) == 0 && !remove {
		return res, false
	}
	refs, failed := w.c.look(w.parent, w.ctx, &w.a)
	if failed != nil {
		return *failed, true
	}
	if refs == nil {
		if w.a.Unsure {
			if wait := w.c.lost.wait(w.a.Key, w.c.now(), w.c.lookup.after); wait > 0 {
				return notYet(to, wait), true
			}
		}
		w.a.Refs = nil
		return connectors.Result{Class: connectors.OK, Code: codeAbsent}, remove
	}
	w.a.Refs = w.a.Refs.With(refs)
	if !w.c.knowsAll(&w.a) {
		return connectors.Failed(connectors.Misconfigured, codeLookup, fmt.Errorf("%s: lookup.remember does not give all that the request names", to.name())), true
	}
	return res, false
}

// knowsAll reports whether all is known that an attempt needs about an object that is
// there.
func (c *connector) knowsAll(a *connectors.Attempt) bool {
	if a.Op == events.Delete {
		return c.remove.knows(a.Refs)
	}
	return c.update.knows(a.Refs)
}

// send makes the request, and does what the answer asks for.
func (w *writing) send(to *route) connectors.Result {
	res, r := w.c.call(w.parent, w.ctx, &w.a, to)
	if to == &w.c.create && w.c.lookup != nil && res.Class == connectors.Transient {
		w.c.lost.note(w.a.Key, w.c.now())
	}
	switch {
	case r == nil || r.by != nil || r.broken != nil:
	case r.status == 412 && to.conditional:
		return w.refused(to, res)
	case absent(r.status) && w.a.Op == events.Upsert && to == &w.c.update && len(to.refs) > 0:
		return w.gone(to, res)
	}
	return w.remember(w.refresh(res))
}

// remember adds to a result what the engine does not have yet of the values that were used.
func (w *writing) remember(res connectors.Result) connectors.Result {
	if res.Class != connectors.OK || w.a.Op == events.Delete {
		res.Remember = nil
		return res
	}
	changes := connectors.Refs{}
	for name := range w.held {
		if _, still := w.a.Refs[name]; !still {
			changes[name] = ""
		}
	}
	for name, value := range w.a.Refs {
		if w.held[name] != value {
			changes[name] = value
		}
	}
	maps.Copy(changes, res.Remember)
	if res.Remember = changes; len(changes) == 0 {
		res.Remember = nil
	}
	if !w.c.update.knows(w.held.With(res.Remember)) {
		res.Code = codeNotRemembered
		res.RuleErrors++
	}
	return res
}

// refused looks at what the target has in the place of the object that a request named.
func (w *writing) refused(to *route, res connectors.Result) connectors.Result {
	switch {
	case w.again:
		// Somebody has written between reading and writing; the next attempt reads again.
		res.Class = connectors.Transient
		return res
	case w.c.readFrom == nil:
		return w.remember(res)
	default:
		return w.read(to, res)
	}
}

// read reads what the target has, and goes on by that.
func (w *writing) read(to *route, res connectors.Result) connectors.Result {
	r, err := w.c.readReply(w.parent, w.ctx, w.a.Key)
	switch {
	case err != nil:
		return resultOf(err)
	case absent(r.status) && w.a.Op == events.Delete:
		return connectors.Result{Class: connectors.OK, Code: res.Code}
	case absent(r.status):
		return w.gone(to, res)
	case r.status/100 != 2:
		return w.c.unanswered(r, w.c.readFrom.host)
	}
	return w.meets(to, res, r)
}

// readReply returns what the target answers about a key. An error is a *connectors.Error.
func (c *connector) readReply(parent, ctx context.Context, key string) (*reply, error) {
	at, err := c.readFrom.expand(key, "", nil)
	if err != nil {
		return nil, asError(connectors.Failed(connectors.Permanent, "request", err))
	}
	return c.fetch(parent, ctx, at, nil)
}

// refresh adds what an answer did not give of the values that reading gives: some targets
// do not answer a write with the ETag that it has made. What it reads must be what was
// written.
func (w *writing) refresh(res connectors.Result) connectors.Result {
	missing := false
	for _, m := range w.c.readRemember {
		missing = missing || res.Remember[m.name] == ""
	}
	if !missing || res.Class != connectors.OK || w.a.Op == events.Delete {
		return res
	}
	r, err := w.c.readReply(w.parent, w.ctx, w.a.Key)
	if err != nil || r.status/100 != 2 { // what was there before this write is no longer; the next one finds out
		forgotten := connectors.Refs{}
		for _, m := range w.c.readRemember {
			if res.Remember[m.name] == "" {
				forgotten[m.name] = ""
			}
		}
		maps.Copy(forgotten, res.Remember)
		res.Remember = forgotten
		return res
	}
	if w.c.isOwn(&w.a, r) || w.c.heldIn(w.ctx, r).Version == w.a.Version {
		res.Remember = w.c.memorize(w.ctx, w.c.readRemember, r.input(&w.a)).With(res.Remember)
	}
	return res
}

// meets decides by what the target holds.
func (w *writing) meets(to *route, res connectors.Result, r *reply) connectors.Result {
	c := w.c
	found := w.a.Refs.With(c.memorize(w.ctx, c.readRemember, r.input(&w.a)))
	delivered := func() connectors.Result {
		w.a.Refs = found
		return w.remember(connectors.Result{Class: connectors.OK, Code: res.Code, Response: c.excerpt(r, connectors.OK)})
	}
	if w.a.Op == events.Upsert && c.isOwn(&w.a, r) {
		return delivered()
	}
	held := c.heldIn(w.ctx, r)
	if held.Version.IsZero() {
		if c.OnForeignChange != foreignOverwrite {
			return w.foreign(to, res, "the target holds what somebody else has written")
		}
		return w.repeat(found)
	}
	verdict, err := versioning.Guard(held, versioning.Tag{Version: w.a.Version, Digest: w.a.Digest}, versioning.Version{})
	switch {
	case err != nil: // a number was compared with a time
		return w.foreign(to, res, "the target holds a version of another kind")
	case verdict == versioning.Newer && len(to.refs) > 0 && to.knows(w.held) && !w.a.Unsure && c.OnForeignChange != foreignOverwrite:
		// Nobody of us has written since we got the value that was refused.
		return w.foreign(to, res, "somebody else has changed the object, and left its version")
	case verdict == versioning.Newer || verdict == versioning.Duplicate && w.a.Again:
		return w.repeat(found)
	case verdict == versioning.Duplicate:
		return delivered()
	case verdict == versioning.Stale:
		res.Class = connectors.Stale
		res.Err = fmt.Errorf("%s; the target holds the newer version %s", said(to, res), held.Version)
	default:
		res = w.foreign(to, res, "the target holds this version with another content")
	}
	res.Held = held
	return res
}

// repeat writes once more, by what was read.
func (w *writing) repeat(refs connectors.Refs) connectors.Result {
	w.a.Refs, w.again = refs, true
	to := &w.c.update
	if w.a.Op == events.Delete {
		to = &w.c.remove
	}
	if !to.knows(refs) {
		return connectors.Failed(connectors.Misconfigured, "read", fmt.Errorf("%s: read.remember does not give all that the request names", to.name()))
	}
	return w.send(to)
}

// gone decides about an upsert whose object is no more.
func (w *writing) gone(to *route, res connectors.Result) connectors.Result {
	if w.again {
		res.Class = connectors.Transient
		return res
	}
	if w.c.lookup != nil {
		refs, failed := w.c.look(w.parent, w.ctx, &w.a)
		if failed != nil {
			return *failed
		}
		if now := w.a.Refs.With(refs); refs != nil && !maps.Equal(now, w.a.Refs) {
			return w.repeat(now) // it has another name now
		}
		if refs == nil && w.a.Unsure { // it may have been made anew, and the answer lost
			if wait := w.c.lost.wait(w.a.Key, w.c.now(), w.c.lookup.after); wait > 0 {
				return notYet(to, wait)
			}
		}
	}
	// A delete of ours whose answer was lost may have been overtaken by this upsert.
	if w.c.OnForeignChange != foreignOverwrite && !w.a.Unsure {
		return w.foreign(to, res, "the object is gone: somebody else has deleted it")
	}
	w.a.Refs, w.again = nil, true
	return w.send(&w.c.create)
}

// foreign is the result of an update that would undo what somebody else did.
func (w *writing) foreign(to *route, res connectors.Result, what string) connectors.Result {
	res.Class = connectors.Conflict
	res.Err = fmt.Errorf("%s; %s (on_foreign_change: overwrite writes over it)", said(to, res), what)
	res.RetryAfter = 0
	return res
}

// said says what the target answered to a request, if one was made.
func said(to *route, res connectors.Result) string {
	if res.Code == codeAbsent {
		return to.name() + " was not sent"
	}
	return to.name() + " answered " + res.Code
}

// isOwn reports whether an answer is, byte for byte, what the attempt writes.
func (c *connector) isOwn(a *connectors.Attempt, r *reply) bool {
	t := textsOf(a)
	body, _, err := c.content(a, &t)
	return err == nil && len(body) > 0 && !r.cut && bytes.Equal(body, r.body)
}

// heldIn returns what a read answer says that the target holds, zero where it says nothing.
func (c *connector) heldIn(ctx context.Context, r *reply) versioning.Tag {
	held := heldBy(r.header)
	body, err := document(r.body)
	if err != nil {
		return held
	}
	if held.Version.IsZero() && c.readVersion != nil {
		held.Version = c.readVersion.version(ctx, body)
	}
	if held.Digest.IsZero() && c.readDigest != nil {
		held.Digest = digestOf(c.readDigest.text(ctx, body))
	}
	return held
}
