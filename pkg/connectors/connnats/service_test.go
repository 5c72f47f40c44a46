package connnats_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/hms-utl/extsync/examples/connector/jsonfile"
	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/natsserver/natstest"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/testkit/plugged"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connnats"
	"github.com/hms-utl/extsync/pkg/events"
)

const serviceSubject = "svc.things"

// A filer is a service that keeps JSON files, in as many instances as are run.
type filer struct {
	dir   string
	proxy *faults.Proxy
	mu    sync.Mutex
	apply func(m *nats.Msg, req *plugged.Request) bool // answers in its place, and says so
}

func newFiler(t testing.TB, instances int) *filer {
	t.Helper()
	b := natstest.Run(t, natstest.Options{TCP: true})
	f := &filer{dir: filepath.Join(t.TempDir(), "d"), proxy: faults.NewProxy(t, strings.TrimPrefix(b.URL(), "nats://"))}
	testkit.Must(t, os.Mkdir(f.dir, 0o700))
	for range instances {
		f.run(t, b.Connect(t))
	}
	return f
}

// run runs an instance until its connection ends.
func (f *filer) run(t testing.TB, nc *nats.Conn) {
	t.Helper()
	server := &plugged.Server{Kind: jsonfile.Kind(), Env: connectortest.Env(nil)}
	config, err := json.Marshal(map[string]string{"directory": f.dir})
	testkit.Must(t, err)
	_, err = json.Marshal(server.Answer(t.Context(), &plugged.Request{Method: "open", Config: config}))
	testkit.Must(t, err)
	ctx := context.WithoutCancel(t.Context())
	_, err = nc.QueueSubscribe(serviceSubject, "filers", func(m *nats.Msg) {
		go func() {
			var req plugged.Request
			if json.Unmarshal(m.Data, &req) != nil || req.Method == "open" || req.Method == "close" {
				return // it has no sessions
			}
			f.mu.Lock()
			instead := f.apply
			f.mu.Unlock()
			if req.Method == "apply" && instead != nil && instead(m, &req) {
				return
			}
			answer, _ := json.Marshal(server.Answer(ctx, &req))
			_ = m.Respond(answer)
		}()
	})
	testkit.Must(t, err)
	testkit.Must(t, nc.Flush())
}

func (f *filer) lines() []byte {
	return fmt.Appendf(nil, "servers: ['nats://%s']\nallow_cidrs: [127.0.0.0/8]\nmode: service\nsubject: %s\n"+
		"capabilities: {guard: atomic, keeps_digest: true, keeps_tombstone: true, probes: true, reads: true}\n", f.proxy.Addr(), serviceSubject)
}

// held reads what is in the files, without the service.
func (f *filer) held(t *testing.T, keys ...string) map[string]connectors.Held {
	t.Helper()
	c, err := connectors.Open(t.Context(), jsonfile.Kind(), connectortest.Env(nil), fmt.Appendf(nil, "directory: %q", f.dir))
	if err != nil {
		t.Error(err)
		return nil
	}
	held, err := c.Read(t.Context(), keys)
	if err != nil {
		t.Error(err)
	}
	out := map[string]connectors.Held{}
	for i, h := range held {
		if !h.IsZero() {
			out[keys[i]] = h
		}
	}
	return out
}

func TestServiceConformance(t *testing.T) {
	f := newFiler(t, 3)
	move := func(t *testing.T, from, to string) { testkit.Must(t, os.Rename(from, to)) }
	connectortest.Run(t, connectortest.Target{
		Open: func(t *testing.T) *connectors.Opened {
			c, err := connectors.Open(t.Context(), connnats.Kind(), connectortest.Env(nil), f.lines())
			testkit.Must(t, err)
			return c
		},
		Read:    f.held,
		Guarded: true, KeepsDigest: true, Tombstones: true,
		BadUpdate: func(u *events.Update) { u.Payload = []byte("{") },
		Cut:       func(*testing.T) { f.proxy.Cut() },
		Restore:   func(*testing.T) { f.proxy.Heal() },
		LoseAnswer: func(*testing.T) func() {
			f.proxy.LoseAnswers(func(answer []byte) bool { return bytes.Contains(answer, []byte(`"results"`)) })
			return f.proxy.Heal
		},
		Hang: func(*testing.T, string) func() {
			f.proxy.Freeze()
			return f.proxy.Heal
		},
		Faults: []connectortest.Fault{{
			Name: "its target is away", Want: connectors.Transient,
			Arm: func(t *testing.T, _ *events.Update) func() {
				move(t, f.dir, f.dir+".away")
				return func() { move(t, f.dir+".away", f.dir) }
			},
		}},
		OwnGoroutines: own(),
	})
}

// What a service says that the protocol does not allow settles nothing.
func TestServicesThatAreNone(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		class  connectors.Class
		code   string
	}{
		"garbage":       {"swordfish", connectors.Transient, "protocol"},
		"nothing":       {"", connectors.Transient, "protocol"},
		"another":       {`{"id":0,"results":[{"class":"ok"}]}`, connectors.Transient, "protocol"},
		"no result":     {`{"id":%d,"results":[]}`, connectors.Transient, "protocol"},
		"two results":   {`{"id":%d,"results":[{"class":"ok"},{"class":"ok"}]}`, connectors.Transient, "protocol"},
		"no class":      {`{"id":%d,"results":[{"class":"fine"}]}`, connectors.Transient, "protocol"},
		"stale by none": {`{"id":%d,"results":[{"class":"stale"}]}`, connectors.Transient, "protocol"},
		"an echo":       {`{"id":%d,"method":"apply"}`, connectors.Transient, "protocol"},
		"refused":       {`{"id":%d,"error":{"class":"misconfigured","code":"disk","message":"full"}}`, connectors.Misconfigured, "disk"},
		"ok":            {`{"id":%d,"results":[{"class":"ok"}]}`, connectors.OK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiler(t, 1)
			f.apply = func(m *nats.Msg, req *plugged.Request) bool {
				answer := c.answer
				if strings.Contains(answer, "%d") {
					answer = fmt.Sprintf(answer, req.ID)
				}
				return m.Respond([]byte(answer)) == nil
			}
			want(t, apply(t, openWith(t, connectortest.Env(nil), f.lines()), attempt("k", 1, "{}"))[0], c.class, c.code)
		})
	}
}

// A batch that is larger than a message may be goes in parts; what is too large alone fails
// alone.
func TestBatchesThatAreTooLargeAreSplit(t *testing.T) {
	f := newFiler(t, 1)
	c := openWith(t, connectortest.Env(nil), f.lines())
	var batch []connectors.Attempt
	for i := range 10 {
		batch = append(batch, attempt(fmt.Sprint("k", i), 1, fmt.Sprintf("%q", strings.Repeat("x", 300<<10))))
	}
	batch[7] = attempt("k7", 1, fmt.Sprintf("%q", strings.Repeat("x", 2<<20)))
	for i, res := range apply(t, c, batch...) {
		if i == 7 {
			want(t, res, connectors.Permanent, "max_payload")
			continue
		}
		want(t, res, connectors.OK, "")
	}
}

func TestServiceThatIsNotThere(t *testing.T) {
	f := newFiler(t, 0)
	c := openWith(t, connectortest.Env(nil), f.lines())
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.Transient, connectors.CodeRefused)
	if err := c.Probe(t.Context()); err == nil {
		t.Error("it is said to be there")
	}
}

func TestServiceThatCanDoLess(t *testing.T) {
	f := newFiler(t, 1)
	lines := bytes.Replace(f.lines(), []byte("reads: true"), []byte("lists: true"), 1)
	want(t, apply(t, openWith(t, connectortest.Env(nil), lines), attempt("k", 1, "{}"))[0], connectors.Misconfigured, "capabilities")
}

// A service of the services framework that answers with an error of it.
func TestServiceThatFails(t *testing.T) {
	b := natstest.Run(t, natstest.Options{TCP: true})
	s, err := micro.AddService(b.Conn, micro.Config{Name: "things", Version: "1.0.0", Endpoint: &micro.EndpointConfig{
		Subject: serviceSubject, Handler: micro.HandlerFunc(func(r micro.Request) { _ = r.Error("503", "busy", nil) }),
	}})
	testkit.Must(t, err)
	defer s.Stop() //nolint:errcheck // the test is over
	c := openWith(t, connectortest.Env(nil), fmt.Appendf(nil, "servers: ['%s']\nallow_cidrs: [127.0.0.0/8]\nmode: service\nsubject: %s\n", b.URL(), serviceSubject))
	want(t, apply(t, c, attempt("k", 1, "{}"))[0], connectors.Transient, "service")
}
