package lanes

import "slices"

// A lineup is the lanes that could be attempted now, first come first.
type lineup struct {
	live []*Lane
	low  []*Lane // when nothing is in live: of a resync, and replays
}

func (q *lineup) len() int { return len(q.live) + len(q.low) }

func (q *lineup) add(l *Lane) {
	l.queued = true
	if !l.queue[0].Live() {
		q.low = append(q.low, l)
	} else {
		q.live = append(q.live, l)
	}
}

// remove takes a lane out.
func (q *lineup) remove(l *Lane) {
	if !l.queued {
		return
	}
	l.queued = false
	for _, from := range []*[]*Lane{&q.live, &q.low} {
		if i := slices.Index(*from, l); i >= 0 {
			*from = slices.Concat((*from)[:i], (*from)[i+1:])
		}
	}
}

// fresh returns the place of the first lane whose key does not fail; -1: there is none.
func (q *lineup) fresh() int {
	return slices.IndexFunc(q.live, func(l *Lane) bool { return !l.standing.Failing() })
}

// preferFresh puts it in front of the others: a key that fails says nothing about the
// target.
func (q *lineup) preferFresh() {
	if i := q.fresh(); i > 0 {
		l := q.live[i]
		copy(q.live[1:i+1], q.live[:i])
		q.live[0] = l
	}
}

// pop takes up to n lanes out, live ones first. An update that has broken a batch before
// goes alone.
func (q *lineup) pop(n int) []*Lane {
	batch := make([]*Lane, 0, min(n, q.len()))
	for len(batch) < n && q.len() > 0 {
		from := &q.live
		if len(q.live) == 0 {
			from = &q.low
		}
		l := (*from)[0]
		alone := l.queue[0].Tries.alone
		if alone && len(batch) > 0 {
			break
		}
		*from = (*from)[1:]
		l.queued, l.busy = false, true
		batch = append(batch, l)
		if alone {
			break
		}
	}
	return batch
}

// Ready returns how many lanes the next call could be for; 0 if none may begin.
func (m *Lanes) Ready() int {
	if m.refreshing || m.count.inFlight >= m.o.Calls {
		return 0
	}
	return m.ready.len()
}

// Fresh reports whether one of these is of a key that does not fail.
func (m *Lanes) Fresh() bool { return m.ready.fresh() >= 0 }

// Next returns up to n lanes whose heads are attempted together, in a call that is in
// flight until CallEnded. For a probe of the target one comes first that has not failed.
func (m *Lanes) Next(n int, probe bool) []*Lane {
	if probe {
		m.ready.preferFresh()
	}
	m.count.inFlight++
	return m.ready.pop(n)
}

// CallEnded says that a call is over, and its results were told.
func (m *Lanes) CallEnded() { m.count.inFlight-- }
