// Package demo shows what extsync does, on a machine with nothing installed, and
// checks every word of it.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/local"
	"github.com/hms-utl/extsync/pkg/publish"
)

// ErrExpectation says that something did not happen as the demonstration says.
var ErrExpectation = errors.New("expectation does not hold")

// timeout bounds the whole demonstration, which takes a few seconds.
const timeout = time.Minute

// Options say how to run the demonstration.
type Options struct {
	Out io.Writer // gets the narration; nil: nobody
	// Strong returns a heading so that it stands out on the terminal. nil: as it
	// is.
	Strong func(string) string
	// TempDir is where the directory of the demonstration is made. Zero: the
	// system's. It is removed at the end, whatever happens.
	TempDir string
	Logger  zerolog.Logger // zero: silent
}

// A Summary tells what was checked.
type Summary struct {
	OK       bool          `json:"ok"`
	Checks   []Check       `json:"checks"`
	Duration time.Duration `json:"duration_ns"`
}

// A Check is one expectation, and whether it held.
type Check struct {
	Step string `json:"step"`
	Text string `json:"text"`
	OK   bool   `json:"ok"`
}

// demo is the stage: both ends and what is between them.
type demo struct {
	*narrator
	stack     *local.Stack
	receiver  *local.Receiver
	publisher *publish.Publisher
	erpFile   string
}

// Run runs the demonstration. It stops at the first expectation that does not
// hold, with ErrExpectation. It leaves nothing behind.
func Run(ctx context.Context, o Options) (Summary, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	start := time.Now()
	d := &demo{narrator: newNarrator(o)}
	err := d.runIn(ctx, o)
	sum := Summary{OK: err == nil, Checks: d.checks, Duration: time.Since(start)}
	d.summary(sum)
	return sum, err
}

// runIn makes the directory and removes it, whatever happens.
func (d *demo) runIn(ctx context.Context, o Options) (err error) {
	dir, err := os.MkdirTemp(o.TempDir, "extsync-demo-")
	if err != nil {
		return fmt.Errorf("directory of the demonstration: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d.erpFile = filepath.Join(dir, "erp.db")
	return d.run(ctx, o, dir)
}

func (d *demo) run(ctx context.Context, o Options, dir string) (err error) {
	d.intro(dir)
	if d.receiver, err = local.StartReceiver(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.receiver.Close()) }()
	if d.stack, err = local.Start(ctx, local.Options{Dir: filepath.Join(dir, "broker"), Databases: dir, Logger: o.Logger}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.stack.Close()) }()
	for _, step := range []func(context.Context) error{d.register, d.deliver, d.guard, d.outage, d.lateWrite, d.whereabouts, d.fanOut, d.ownTransaction} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}
