package compare

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/natsserver"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// PartCommand is the argument with which the program that runs the benchmark is
// started again as one of its parts; the Part follows as JSON.
const PartCommand = "part"

// The roles of a Part.
const (
	roleBroker  = "broker"
	roleWorker  = "worker"
	roleSink    = "sink"
	roleFloor   = "floor"
	rolePublish = "publish"
	roleAudit   = "audit"
)

// A Part says what a process of the benchmark is to be.
type Part struct {
	Role    string       `json:"role"`
	Dir     string       `json:"dir,omitempty"`     // of the broker, or of what a worker writes
	URL     string       `json:"url,omitempty"`     // of the broker
	Profile string       `json:"profile,omitempty"` // file for a CPU profile
	Sink    SinkOptions  `json:"sink,omitzero"`
	Floor   FloorOptions `json:"floor,omitzero"`
	Publish publishing   `json:"publish,omitzero"`
	Channel string       `json:"channel,omitempty"` // to audit
}

// address is what a part writes when it is ready.
type address struct {
	URL string `json:"url"`
}

// RunPart is a part: it writes a line of JSON when it is ready, and ends when in
// does.
func RunPart(ctx context.Context, spec string, in io.Reader, out io.Writer) (err error) {
	var p Part
	if err := json.Unmarshal([]byte(spec), &p); err != nil {
		return fmt.Errorf("part of the benchmark: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, in) // that it ends is what counts
		stop()
	}()
	if p.Profile != "" {
		end, err := profile(p.Profile)
		if err != nil {
			return err
		}
		defer end()
	}
	ready := func(url string) error { return json.NewEncoder(out).Encode(address{URL: url}) }
	switch p.Role {
	case roleBroker:
		return runBroker(ctx, p, ready)
	case roleWorker:
		return runWorker(ctx, p, ready)
	case roleSink:
		return runSink(ctx, p.Sink, ready)
	case roleFloor:
		return runFloor(ctx, p, out)
	case rolePublish:
		return runPublishing(ctx, p, out)
	case roleAudit:
		return runAudit(ctx, p, out)
	default:
		return fmt.Errorf("part of the benchmark: there is no role %q", p.Role)
	}
}

func profile(path string) (end func(), err error) {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // a broken profile shows
		if f, err := os.Create(filepath.Clean(path + ".allocs")); err == nil {
			_ = pprof.Lookup("allocs").WriteTo(f, 0) // the same
			_ = f.Close()
		}
	}, nil
}

func runBroker(ctx context.Context, p Part, ready func(string) error) error {
	o := natsserver.Options{StoreDir: p.Dir, Listen: "127.0.0.1:0"}
	s, err := natsserver.Start(ctx, o)
	if err != nil {
		return err
	}
	if err := ready(s.ClientURL()); err != nil {
		return err
	}
	<-ctx.Done()
	return s.Shutdown()
}

// runWorker is what connector-worker does.
func runWorker(ctx context.Context, p Part, ready func(string) error) error {
	if err := ready(""); err != nil {
		return err
	}
	return app.RunWorker(ctx, app.WorkerOptions{Config: p.config(), Logger: zerolog.New(os.Stderr).Level(zerolog.WarnLevel).With().Timestamp().Logger()})
}

// config is that of a process that reaches the targets.
func (p Part) config() config.Config {
	cfg := config.Default()
	cfg.NATS.URL = p.URL
	cfg.Allow.Networks, cfg.Allow.Databases = connectors.List{"127.0.0.0/8"}, connectors.List{p.Dir}
	return cfg
}
