package conformance

import (
	"context"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// applyWithin makes one attempt with a ctx and checks that Apply returns soon
// after ctx ended.
func (r *run) applyWithin(ctx context.Context, c *connectors.Opened, a connectors.Attempt) connectors.Result {
	r.Helper()
	done := make(chan connectors.Result, 1)
	go func() { done <- r.applyAll(ctx, c, a)[0] }()
	select {
	case res := <-done:
		return res
	case <-ctx.Done():
	}
	late := time.NewTimer(slack)
	defer late.Stop()
	select {
	case res := <-done:
		return res
	case <-late.C:
		r.Fatalf("Apply did not return within %v after its ctx ended", slack)
		return connectors.Result{}
	}
}

func cancelledBefore(r *run) {
	c := r.open()
	a := r.upsert(r.prefix+"k", number(1), "cancelled")
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	res := r.applyWithin(ctx, c, a)
	r.wantTransient("with a ctx that had ended", res)
	r.wantAbsent(a.Key)
	r.wantOK("after that", r.apply(c, a))
	r.wantHeld(a)
}

func cancelledDuring(r *run) {
	if r.Hang == nil {
		r.NotApplicable("it cannot be made to hang (Hang)")
		return
	}
	c := r.open()
	a := r.upsert(r.prefix+"k", number(2), "cancelled")
	r.wantOK("before", r.apply(c, r.upsert(a.Key, number(1), "before")))
	release := r.Hang(r.T, a.Key)
	ctx, cancel := context.WithTimeout(r.Context(), 200*time.Millisecond)
	defer cancel()
	res := r.applyWithin(ctx, c, a)
	release()
	r.wantTransient("while the target hangs", res)
	// The target may have carried out what it was asked, so this may be the same
	// version again.
	r.wantOK("after that", r.settle(c, a))
	r.wantHeld(a)
}

// cutOff bounds a call to a target that is not there. Many clients try for as long as they may,
// and more of it would show no more.
const cutOff = 2 * time.Second

func unreachable(r *run) {
	if r.Cut == nil {
		r.NotApplicable("it cannot be cut off (Cut, Restore)")
		return
	}
	c := r.open()
	a := r.upsert(r.prefix+"k", number(2), "unreachable")
	r.wantOK("before", r.apply(c, r.upsert(a.Key, number(1), "before")))
	probes := c.Can().Probes
	if probes {
		if err := c.Probe(r.Context()); err != nil {
			r.Errorf("Probe of a target that is there: %v", err)
		}
	}
	func() {
		r.Cut(r.T)
		defer r.Restore(r.T) // whatever fails, the next case gets the target back
		ctx, cancel := context.WithTimeout(r.Context(), cutOff)
		defer cancel()
		r.wantTransient("while it is cut off", r.applyAll(ctx, c, a)[0])
		if probes {
			r.probeFails(c)
		}
	}()
	r.wantOK("after it is back", r.settle(c, a))
	r.wantHeld(a)
	if !probes {
		r.NotApplicable("the connector is not declared to probe")
		return
	}
	if err := c.Probe(r.Context()); err != nil {
		r.Errorf("Probe after the target is back: %v", err)
	}
}

func (r *run) probeFails(p *connectors.Opened) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), cutOff)
	defer cancel()
	err := p.Probe(ctx)
	if err == nil || connectors.ClassOf(err) != connectors.Transient {
		r.Errorf("Probe of a target that is cut off: %v (class %s), want a transient error", err, connectors.ClassOf(err))
	}
	if err != nil {
		r.checkText("the error of Probe", err.Error())
	}
}

// answerLost: the connector cannot know that it was applied, and trying again
// does no harm (guarantee 1).
func answerLost(r *run) {
	if r.LoseAnswer == nil {
		r.NotApplicable("its answer cannot be lost (LoseAnswer)")
		return
	}
	c := r.open()
	a := r.upsert(r.prefix+"k", number(2), "lost")
	r.wantOK("before", r.apply(c, r.upsert(a.Key, number(1), "before")))
	restore := r.LoseAnswer(r.T)
	res := r.apply(c, a)
	restore()
	r.wantTransient("with its answer lost", res)
	r.wantHeld(a)
	a.Number = 2
	r.wantOK("again", r.settle(c, a))
	r.wantHeld(a)
}

func faults(r *run) {
	if len(r.Faults) == 0 {
		r.NotApplicable("no failures of it are described (Faults)")
		return
	}
	for i, f := range r.Faults {
		r.Run(f.Name, func(t T) {
			sub := &run{T: t, Target: r.Target, prefix: r.prefix}
			defer sub.closeAll()
			sub.fault(f, int64(i))
		})
	}
}

func (r *run) fault(f Fault, i int64) {
	c := r.open()
	good := r.upsert(r.prefix+f.Name, number(i+2), "fault")
	r.wantOK("before", r.apply(c, r.upsert(good.Key, number(1), "before")))
	u := good.Update
	restore := f.Arm(r.T, &u)
	res := r.apply(c, attempt(u))
	restore()
	if res.Class != f.Want || f.Code != "" && res.Code != f.Code {
		r.Errorf("class %s, code %q (error %v); want class %s, code %q", res.Class, res.Code, res.Err, f.Want, f.Code)
	}
	again := attempt(u)
	if f.Broken {
		again = good
	}
	r.wantOK("after the fault", r.settle(c, again))
	r.wantHeld(again)
}
