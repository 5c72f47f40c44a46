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

// removeLow takes a lane whose head is not live out.
func (q *lineup) removeLow(l *Lane) {
	if !l.queued {
		return
	}
	l.queued = false
	if i := slices.Index(q.low, l); i >= 0 {
		q.low = slices.Concat(q.low[:i], q.low[i+1:])
	}
}

// preferHealthy puts a lane whose head has not failed yet in front of the others:
// a key that always fails says nothing about the target.
func (q *lineup) preferHealthy() {
	for i, l := range q.live {
		if l.queue[0].Tries.First.IsZero() {
			copy(q.live[1:i+1], q.live[:i])
			q.live[0] = l
			return
		}
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

// Next returns up to n lanes whose heads are attempted together, in a call that is in
// flight until CallEnded. For a probe of the target one comes first that has not failed.
func (m *Lanes) Next(n int, probe bool) []*Lane {
	if probe {
		m.ready.preferHealthy()
	}
	m.count.inFlight++
	return m.ready.pop(n)
}

// CallEnded says that a call is over, and its results were told.
func (m *Lanes) CallEnded() { m.count.inFlight-- }
