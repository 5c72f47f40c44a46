package local

import "context"

// A Task is a part of a stack that runs until it is stopped, or fails.
type Task struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error // to be read after done is closed
}

// begin begins a task, which is to end with the ctx that it is given.
func begin(ctx context.Context, do func(context.Context) error) *Task {
	ctx, cancel := context.WithCancel(ctx)
	t := &Task{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = do(ctx)
	}()
	return t
}

// Stop lets the task finish what is under way, and returns why it failed if it did.
func (t *Task) Stop() error {
	t.cancel()
	<-t.done
	return t.err
}
