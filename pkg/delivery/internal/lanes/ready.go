package lanes

import "slices"

// A lineup is the lanes that could be attempted now, first come first.
type lineup struct {
	live []*Lane
	low  []*Lane // when nothing is in live: of a resync or a new channel, and replays
	// newest: the next probe is of the last lane whose key does not fail, not of the first.
	newest bool
}

func (q *lineup) len() int { return len(q.live) + len(q.low) }

func (q *lineup) add(l *Lane) {
	l.queued = true
	if head := l.queue[0]; !head.Live() || head.Fill != nil {
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

// hasFresh reports whether there is a lane whose key does not fail.
func (q *lineup) hasFresh() bool { return slices.ContainsFunc(q.live, (*Lane).fresh) }

// preferFresh puts a lane whose key does not fail in front of the others: one that fails
// says nothing about the target. It takes the first and the last of them in turn. Keys that
// will fail gather at the front, unknown to an owner that has just begun, and probes that try
// one after the other would keep healthy keys waiting for each of them.
func (q *lineup) preferFresh() {
	i := slices.IndexFunc(q.live, (*Lane).fresh)
	if i < 0 {
		return
	}
	for last := len(q.live) - 1; q.newest && i < last; last-- {
		if q.live[last].fresh() {
			i = last
		}
	}
	q.newest = !q.newest
	l := q.live[i]
	copy(q.live[1:i+1], q.live[:i])
	q.live[0] = l
}

func (l *Lane) fresh() bool { return !l.standing.Failing() }

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

// Ready returns how many lanes the next call could be for; 0 if none may begin. Half of the
// calls are kept for what is live: it need not wait for the end of one that is not.
func (m *Lanes) Ready() int {
	behind := len(m.ready.live) == 0
	if m.refreshing || m.count.inFlight >= m.o.Calls || behind && m.count.behind >= max(1, m.o.Calls/2) {
		return 0
	}
	return m.ready.len()
}

// Fresh reports whether one of these is of a key that does not fail.
func (m *Lanes) Fresh() bool { return m.ready.hasFresh() }

// Next returns up to n lanes whose heads are attempted together, in a call that is in
// flight until CallEnded, which is told whether the call is behind what is live. For a
// probe of the target one comes first that has not failed.
func (m *Lanes) Next(n int, probe bool) (batch []*Lane, behind bool) {
	if probe {
		m.ready.preferFresh()
	}
	m.count.inFlight++
	if behind = len(m.ready.live) == 0; behind {
		m.count.behind++
	}
	return m.ready.pop(n), behind
}

// CallEnded says that a call is over, and its results were told.
func (m *Lanes) CallEnded(behind bool) {
	m.count.inFlight--
	if behind {
		m.count.behind--
	}
}
