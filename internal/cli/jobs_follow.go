package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/wire"
)

const (
	// serverPatience is for how long a command leaves its job to a server, jobLook how often
	// it looks how far the job is, and leaveWithin how long it waits for the end of what is in
	// hand when it is interrupted.
	serverPatience = 2500 * time.Millisecond
	jobLook        = 300 * time.Millisecond
	leaveWithin    = 20 * time.Second
)

// startJob plans a job, and with --yes starts and follows it.
func startJob(ctx context.Context, sh *Shell, client *operate.Client, r operate.JobRequest, how jobFlags, what string) error {
	plan, err := client.PlanJob(ctx, r)
	if err != nil {
		return err
	}
	switch {
	case how.dryRun || plan.Total == 0:
		return writeJobPlan(sh, r.Action, plan, what)
	case !how.yes:
		return unconfirmed("%s %d %s", r.Action, plan.Total, what)
	}
	if r.Reason == "" {
		r.Reason = "by command, without a reason"
	}
	job, err := client.StartJob(ctx, r)
	if err != nil {
		return err
	}
	return followJob(ctx, sh, client, job, what)
}

// followJob shows how far a job is until its end, and runs it if no server does.
func followJob(ctx context.Context, sh *Shell, client *operate.Client, job jobs.Job, what string) error {
	store, err := client.Jobs(ctx)
	if err != nil {
		return err
	}
	runner, err := client.JobRunner(ctx, zerolog.Nop())
	if err != nil {
		return err
	}
	runner.Only, runner.Patience = job.ID, serverPatience
	running, leave := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runner.Run(running)
	}()
	defer func() {
		leave()
		<-ended
	}()
	bar := sh.progress(what, int64(job.Total))
	defer bar.end()
	tick := time.NewTicker(jobLook)
	defer tick.Stop()
	waited := ""
	for !job.State.Over() {
		select {
		case <-ctx.Done():
			return interruptJob(ctx, sh, client, runner, job.ID)
		case <-tick.C:
		}
		now, err := store.Get(ctx, job.ID)
		switch {
		case ctx.Err() != nil:
			continue
		case wire.IsUnavailable(err): // the job goes on when the broker is back, and so do we
			now = job
			now.Waits = "the broker does not answer"
		case err != nil:
			return err
		}
		job = now
		bar.set(int64(job.Done))
		if job.Waits != waited && job.Waits != "" {
			if _, err := fmt.Fprintf(sh.Err, "it waits: %s\n", clean(job.Waits)); err != nil {
				return err
			}
		}
		waited = job.Waits
	}
	bar.end()
	if err := writeJob(sh, job); err != nil {
		return err
	}
	return jobError(job)
}

// interruptJob ends a job that this command runs, or nobody does: nobody is there to go on with
// it. One that a server runs is left to it.
func interruptJob(ctx context.Context, sh *Shell, client *operate.Client, runner *jobs.Runner, id string) error {
	if !runner.Has(id) && !untaken(context.WithoutCancel(ctx), client, id) {
		sh.goOn = "a server goes on with it, if there is one; 'extsync jobs show " + id + "' shows how far it is, and 'extsync jobs stop " + id + "' ends it"
		return ctx.Err()
	}
	sh.goOn = "the job is stopped: what is done is done; run the same command again for the rest"
	ctx2, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	if _, err := client.StopJob(ctx2, id, "interrupted"); err != nil && !errors.Is(err, jobs.ErrOver) {
		return err
	}
	for runner.Has(id) && ctx2.Err() == nil {
		time.Sleep(jobLook / 3)
	}
	return ctx.Err()
}

// untaken reports whether no runner has ever had a job.
func untaken(ctx context.Context, client *operate.Client, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	store, err := client.Jobs(ctx)
	if err != nil {
		return false
	}
	job, err := store.Get(ctx, id)
	return err == nil && job.Runner == "" && !job.State.Over()
}

// jobError says of a job that has ended that not all could be done.
func jobError(job jobs.Job) error {
	failed := 0
	for _, word := range []string{"failed", "no_worker", "busy", "pending", "paused", "channel_deleted"} {
		failed += job.Out[word]
	}
	text := strings.Join(job.Failures, "; ")
	switch {
	case job.State == jobs.Failed:
		return fmt.Errorf("%w: %s", errSomeFailed, text)
	case failed > 0 && text != "":
		return fmt.Errorf("%w: %d: %s", errSomeFailed, failed, text)
	case failed > 0:
		return fmt.Errorf("%w: %d", errSomeFailed, failed)
	}
	return nil
}
