package app_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWorkerEndsWithItsContext(t *testing.T) {
	cfg := config.Default()
	url := natstest.Run(t, natstest.Options{TCP: true}).URL()
	for _, name := range []string{"before it starts", "while the broker is not provisioned", "while the broker is not there"} {
		t.Run(name, func(t *testing.T) {
			cfg.NATS.URL = url
			if name == "while the broker is not there" {
				cfg.NATS.URL = "nats://127.0.0.1:1"
			}
			ctx, cancel := context.WithCancel(t.Context())
			if name == "before it starts" {
				cancel()
			}
			done := make(chan error, 1)
			log := &signalled{seen: make(chan struct{}), word: "waiting for the broker"}
			go func() { done <- app.RunWorker(ctx, app.WorkerOptions{Config: cfg, Logger: zerolog.New(log)}) }()
			if ctx.Err() == nil {
				<-log.seen
			}
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(testkit.Patience):
				t.Fatal("it does not end")
			}
		})
	}
}

// signalled is a log that tells when it holds a word.
type signalled struct {
	word string
	seen chan struct{}
	done bool
}

func (s *signalled) Write(p []byte) (int, error) {
	if !s.done && strings.Contains(string(p), s.word) {
		s.done = true
		close(s.seen)
	}
	return len(p), nil
}
