package lanes

import (
	"slices"
	"time"

	"github.com/hms-utl/extsync/pkg/events"
)

// An update that its target cannot take yet waits for channels.Retry.UnreadyFor, while
// others of the channel get through; then it is given up. The clock is the key's: a newer
// version may be as unready as the one before.

// soonerEvery is how often, at most, an update that was not ready is tried before its time
// because another one was delivered: that may have been what it waited for.
const soonerEvery = time.Second

// notYet is what is known of a key that is not ready.
type notYet struct {
	is     bool          // its last attempt said so
	at     time.Time     // of the last attempt that said so; zero: there was none here
	passed time.Duration // for which it was not ready, and others got through
	listed bool          // among those that may be tried sooner
}

// unready follows an attempt of a lane's head that was too early, and reports whether its
// time has passed.
func (m *Lanes) unready(l *Lane, a *Answer) (over bool) {
	now, n := m.o.Now(), &l.notYet
	if !n.at.IsZero() && a.Others && !a.Closed.IsZero() {
		n.passed += now.Sub(later(n.at, a.Closed))
	}
	n.is, n.at = true, now
	if !n.listed {
		n.listed = true
		m.early = append(m.early, l)
	}
	return a.Counts && n.passed >= m.o.Retry.UnreadyFor.D()
}

// ready ends the clock of a key whose update has an outcome, but for one that is overtaken.
func (n *notYet) ready(outcome events.Outcome) {
	if outcome != events.Superseded {
		n.is, n.at, n.passed = false, time.Time{}, 0
	}
}

// trySooner has one update that was not ready tried again: another one was delivered.
func (m *Lanes) trySooner() {
	if len(m.early) == 0 { // as nearly always
		return
	}
	now := m.o.Now()
	if now.Sub(m.sooner) < soonerEvery {
		return
	}
	m.early = slices.DeleteFunc(m.early, func(l *Lane) bool {
		l.notYet.listed = m.lanes[l.key.Encoded()] == l && l.notYet.is
		return !l.notYet.listed
	})
	i := slices.IndexFunc(m.early, func(l *Lane) bool { return l.place > 0 && !l.asked.After(now) })
	if i < 0 {
		return
	}
	l := m.early[i]
	m.early = slices.Delete(m.early, i, i+1)
	l.notYet.listed, m.sooner = false, now
	m.waiting.remove(l)
	l.due = time.Time{}
	m.proceed(l)
}
