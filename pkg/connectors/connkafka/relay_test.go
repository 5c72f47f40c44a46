package connkafka_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/testkit"
)

// What a relay does with a request.
type fate struct {
	hold <-chan struct{} // it goes on when this is closed
	lose bool            // its answer is lost, and the connection
}

// A relay passes requests on to a broker, which it reads: a test can hold some, or lose their
// answers.
type relay struct {
	listener net.Listener
	server   string
	ctx      context.Context //nolint:containedctx // the life of the relay
	wg       sync.WaitGroup
	judge    atomic.Pointer[func(api int16) fate]
}

func newRelay(t testing.TB, server string) *relay {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	r := &relay{listener: l, server: server, ctx: ctx}
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		stop()
		_ = l.Close() // it only listens
		r.wg.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

// on has requests judged by the number of their API; nil: all go on.
func (r *relay) on(judge func(api int16) fate) {
	if judge == nil {
		r.judge.Store(nil)
		return
	}
	r.judge.Store(&judge)
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.wg.Go(func() { r.serve(client) })
	}
}

func (r *relay) serve(client net.Conn) {
	server, err := new(net.Dialer).DialContext(r.ctx, "tcp", r.server)
	if err != nil {
		_ = client.Close() // as there is nobody
		return
	}
	both := func() { _, _ = client.Close(), server.Close() } // one end is the end of both
	defer both()
	defer context.AfterFunc(r.ctx, both)()
	var lost atomic.Bool
	var answers sync.WaitGroup
	answers.Go(func() { r.answers(client, server, &lost) })
	defer answers.Wait()
	defer both()
	for {
		var head [4]byte
		if _, err := io.ReadFull(client, head[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(client, body); err != nil {
			return
		}
		if judge := r.judge.Load(); judge != nil {
			f := (*judge)(int16(binary.BigEndian.Uint16(body)))
			if f.lose {
				lost.Store(true)
			}
			if f.hold != nil {
				select {
				case <-f.hold:
				case <-r.ctx.Done():
					return
				}
			}
		}
		if _, err := server.Write(append(head[:], body...)); err != nil {
			return
		}
	}
}

func (*relay) answers(client, server net.Conn, lost *atomic.Bool) {
	defer func() { _, _ = client.Close(), server.Close() }() // one end is the end of both
	buf := make([]byte, 64<<10)
	for {
		n, err := server.Read(buf)
		if n > 0 && !lost.Load() {
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil || lost.Load() {
			return
		}
	}
}

// The numbers of APIs.
const (
	apiProduce        = 0
	apiInitProducerID = 22
	apiEndTxn         = 26
)
