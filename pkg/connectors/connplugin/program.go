package connplugin

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connproto"
)

// How a program is started and ended.
const (
	// startTime bounds hello and open.
	startTime = 30 * time.Second
	// closeTime is how long a program may take to end by itself.
	closeTime = 2 * time.Second
	// drainTime is how long what a program has written is read after its end, if somebody
	// else holds its output.
	drainTime = 500 * time.Millisecond

	firstPause = 100 * time.Millisecond
	mostPause  = 30 * time.Second
	// settled is how long a program must have run for its next start not to wait longer.
	settled = 10 * time.Second
)

// A program is a plugin that the worker starts, and starts again when it has ended.
type program struct {
	c    *connector
	path string
	ctx  context.Context //nolint:containedctx // it is the life of the program
	stop context.CancelFunc
	done chan struct{} // closed when no process is left

	mu      sync.Mutex
	session *session      // nil: it does not run
	err     error         // why it does not run; nil: it is being started
	changed chan struct{} // closed when session or err changes
}

func newProgram(c *connector) (*program, error) {
	path, err := c.Env().Program(c.cfg.Command[0])
	if err != nil {
		return nil, err
	}
	p := &program{c: c, path: path, done: make(chan struct{}), changed: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(context.Background())
	go p.run()
	return p, nil
}

// run keeps a process running. The goroutine keeps its thread for itself: the kernel
// kills the process when the thread ends that has started it.
func (p *program) run() {
	defer close(p.done)
	runtime.LockOSThread()
	pause := firstPause
	for p.ctx.Err() == nil {
		began := time.Now()
		err := p.once()
		if p.ctx.Err() != nil {
			return
		}
		if time.Since(began) > settled {
			pause = firstPause
		}
		p.c.Env().Note(fmt.Sprintf("%s: it is started again in %s", err, pause))
		p.set(nil, notRunning(err, pause))
		timer := time.NewTimer(pause)
		select {
		case <-p.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, mostPause)
		p.set(nil, nil)
	}
}

// notRunning returns the error of calls while a plugin does not run: nobody is there to
// answer, or what the plugin said when it was opened.
func notRunning(err error, pause time.Duration) error {
	var e *connectors.Error
	if !errors.As(err, &e) || e.Class == connectors.Transient {
		err = &connectors.Error{Code: connectors.CodeRefused, Err: fmt.Errorf("the plugin does not run: %w", err)}
	}
	return connproto.Delayed(err, pause)
}

func (p *program) set(s *session, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session, p.err = s, err
	close(p.changed)
	p.changed = make(chan struct{})
}

// once starts a process and returns why it ended, when nothing is left of it.
func (p *program) once() error {
	proc, err := startProcess(p.path, p.c.cfg.Command)
	if err != nil {
		return err
	}
	s := newSession(proc.stdin, p.c.cfg.KillAfter.D())
	var talks sync.WaitGroup
	talks.Go(s.write)
	talks.Go(func() { s.read(proc.stdout) })
	talks.Go(func() { logLines(proc.stderr, p.c.Env()) })
	talks.Go(func() { p.open(s) })
	talks.Go(func() { p.endInTime(s, proc) })
	status := proc.wait()
	talks.Wait()
	proc.closePipes()
	if err := s.why(); !errors.Is(err, errEnded) {
		return err
	}
	return fmt.Errorf("the plugin ended by itself (%s)", status)
}

// open makes the session known once the plugin is ready.
func (p *program) open(s *session) {
	ctx, cancel := context.WithTimeout(p.ctx, startTime)
	defer cancel()
	concurrency, err := p.c.shake(ctx, func(ctx context.Context, method string, params any) (*connproto.Answer, error) {
		a, err := s.call(ctx, method, params, nil)
		if err != nil {
			return nil, err
		}
		return a, p.c.ErrorOf(a)
	})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		s.end(&connectors.Error{Code: "timeout", Err: fmt.Errorf("the plugin was not ready %s after its start", startTime)})
	case err != nil:
		s.end(err)
	default:
		s.admission.Allow(concurrency)
		p.set(s, nil)
	}
}

// endInTime ends the process when its session or the program is over.
func (p *program) endInTime(s *session, proc *process) {
	select {
	case <-proc.exited:
	case <-s.deaf:
		proc.exitWithin(drainTime)
	case <-s.ended:
		if errors.Is(s.why(), errEnded) { // it may be about to exit, and its status tells more
			proc.exitWithin(drainTime)
		}
	case <-p.ctx.Done():
		proc.closeInput()
		proc.exitWithin(closeTime)
	}
	proc.kill()
}

func (p *program) Call(ctx context.Context, method string, params any, keys []string) (*connproto.Answer, error) {
	s, err := p.await(ctx)
	if err != nil {
		return nil, err
	}
	a, err := s.call(ctx, method, params, keys)
	if err != nil {
		return nil, err
	}
	return a, p.c.ErrorOf(a)
}

// await returns the session, once the plugin is ready.
func (p *program) await(ctx context.Context) (*session, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p.mu.Lock()
		s, err, changed := p.session, p.err, p.changed
		p.mu.Unlock()
		if s != nil || err != nil {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-changed:
		}
	}
}

func (p *program) Ready(ctx context.Context) error {
	_, err := p.await(ctx)
	return err
}

// close says goodbye and ends the process, and whatever it has started.
func (p *program) Close(ctx context.Context) error {
	p.mu.Lock()
	s := p.session
	p.mu.Unlock()
	if s != nil {
		ctx, cancel := context.WithTimeout(ctx, closeTime)
		_, _ = s.call(ctx, connproto.MethodClose, struct{}{}, nil) // the end of its input says the same
		cancel()
	}
	p.stop()
	<-p.done
	return nil
}
