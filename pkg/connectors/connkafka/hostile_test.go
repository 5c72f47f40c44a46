package connkafka_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// What a stranger in the broker's place can do: no call outlasts its context by more than a
// moment, none is taken for delivered or failed for good, no answer is read that is larger
// than the limit, and the connector can be closed.
func TestHostileBroker(t *testing.T) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	t.Run("each", hostileBrokers)
	runtime.ReadMemStats(&after)
	// An answer of 15 MiB is within the limit, and three calls can be given one each, again
	// and again; one of 2 GiB is not.
	if more := after.TotalAlloc - before.TotalAlloc; more > 1<<30 {
		t.Errorf("%d MiB were allocated", more>>20)
	}
}

func hostileBrokers(t *testing.T) {
	const metadata = apiMetadata
	rubbish := make([]byte, 1<<16)
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // rubbish that is the same each time
	for i := range rubbish {
		rubbish[i] = byte(random.Uint32())
	}
	says := func(text []byte) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = conn.Write(text) // the client may have gone
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	frame := func(size uint32) []byte { return binary.BigEndian.AppendUint32(nil, size) }
	only := func(api int16, answer []byte) func(net.Conn) {
		return answering(func(asked, _ int16, _ []byte) []byte {
			if asked == api {
				return answer
			}
			return nil
		})
	}
	for name, serve := range map[string]func(net.Conn){
		"closes at once":         func(net.Conn) {},
		"says nothing":           says(nil),
		"rubbish":                says(rubbish),
		"another protocol":       says([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")),
		"a huge answer":          says(frame(1<<31 - 1)),
		"a negative length":      says(frame(1<<32 - 1)),
		"an answer without end":  says(append(frame(15<<20), rubbish...)),
		"a slow answer":          drips,
		"rubbish for a topic":    only(metadata, rubbish[:1000]),
		"half an answer":         only(metadata, []byte{0, 0}),
		"topics beyond counting": only(metadata, append(make([]byte, 4), bytes.Repeat([]byte{0x7f, 0xff, 0xff, 0xff}, 8)...)),
		"no topic":               answering(func(_, version int16, _ []byte) []byte { return noTopics(version) }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The fences that are not there leave out requests that such a broker never gets.
			c := connect(t, config(fakeBroker(t, serve), "people", "fence: none\n"))
			const within = 500 * time.Millisecond
			for version := int64(1); version <= 2; version++ { // the second one meets what the first one has left
				ctx, cancel := context.WithTimeout(connectors.WithPartition(t.Context(), 0), within)
				begun := time.Now()
				res := c.Apply(ctx, []connectors.Attempt{attempt("k", version, "{}")})[0]
				cancel()
				if res.Class != connectors.Transient {
					t.Errorf("%s, %q: %v", res.Class, res.Code, res.Err)
				}
				if took := time.Since(begun); took > 5*time.Second {
					t.Errorf("the call took %v", took)
				}
				if strings.Contains(res.Err.Error()+res.Response, "HTTP/1.1") {
					t.Errorf("what the other side says is shown: %v, %q", res.Err, res.Response)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			if err := c.Probe(ctx); connectors.ClassOf(err) != connectors.Transient {
				t.Errorf("the probe says %v", err)
			}
		})
	}
}

// drips says one byte of an answer after the other, slower than anybody waits.
func drips(conn net.Conn) {
	for _, b := range append([]byte{0, 0, 1, 0}, make([]byte, 256)...) {
		if _, err := conn.Write([]byte{b}); err != nil {
			return
		}
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := io.Copy(io.Discard, conn); err == nil { // the client has gone
			return
		}
	}
}

func noTopics(version int16) []byte {
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version = version
	return resp.AppendTo(nil)
}

// A broker that answers everything until a record comes, and then nothing, or rubbish: nobody
// knows whether it has the record.
func TestHostileBrokerTakesRecords(t *testing.T) {
	for name, produced := range map[string]func() []byte{
		"rubbish": func() []byte { return bytes.Repeat([]byte{0x7f}, 100) },
		"closes":  func() []byte { return nil },
		"of no topic": func() []byte {
			resp := kmsg.NewPtrProduceResponse()
			resp.Version = fakeAPIs[apiProduce]
			return resp.AppendTo(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan struct{}, 1)
			addr := writable(t, topicAnswer, func() []byte {
				select {
				case asked <- struct{}{}:
				default: // it was asked before
				}
				return produced()
			})
			c := connect(t, config(addr, "people", "fence: none\n"))
			ctx, cancel := context.WithTimeout(connectors.WithPartition(t.Context(), 0), 2*time.Second)
			defer cancel()
			res := c.Apply(ctx, []connectors.Attempt{attempt("k", 1, "{}")})[0]
			if res.Class != connectors.Transient {
				t.Errorf("%s, %q: %v", res.Class, res.Code, res.Err)
			}
			select {
			case <-asked:
			default:
				t.Error("no record has come")
			}
		})
	}
}

// Kafka says that it refuses a login, which kfake does not: somebody must act, and nobody is
// shown what the broker says about it, or the password.
func TestRefusedLogin(t *testing.T) {
	const unsupported, illegal, failed = 33, 34, 58 // codes of the protocol
	for name, c := range map[string]struct {
		handshake, authenticate int16
		code                    string
	}{
		"wrong password":    {0, failed, "SASL_AUTHENTICATION_FAILED"},
		"another mechanism": {unsupported, 0, "UNSUPPORTED_SASL_MECHANISM"},
		"out of turn":       {illegal, 0, "ILLEGAL_SASL_STATE"},
	} {
		for _, mechanism := range []string{"plain", "scram-sha-256", "scram-sha-512"} {
			t.Run(name+"/"+mechanism, func(t *testing.T) {
				addr := fakeBroker(t, answering(func(api, version int16, _ []byte) []byte {
					switch api {
					case apiHandshake:
						resp := kmsg.NewPtrSASLHandshakeResponse()
						resp.Version, resp.ErrorCode = version, c.handshake
						return resp.AppendTo(nil)
					case apiAuthenticate:
						resp := kmsg.NewPtrSASLAuthenticateResponse()
						resp.Version, resp.ErrorCode, resp.ErrorMessage = version, c.authenticate, kmsg.StringPtr("no "+testPassword)
						return resp.AppendTo(nil)
					default:
						return nil
					}
				}))
				conn := open(t, config(addr, "people", "mechanism: "+mechanism+"\nuser: joe\npassword: ${env:P}\n"), map[string]string{"P": testPassword})
				defer conn.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // nothing is lost by it
				for version := int64(1); version <= 2; version++ {
					res := apply(t, conn, attempt("k", version, "{}"))[0]
					want(t, res, connectors.Misconfigured, c.code)
					if strings.Contains(res.Err.Error()+res.Response, testPassword) {
						t.Errorf("the password is shown: %v, %q", res.Err, res.Response)
					}
				}
				err := conn.Probe(t.Context())
				var e *connectors.Error
				if !errors.As(err, &e) || e.Class != connectors.Misconfigured || e.Code != c.code || strings.Contains(err.Error(), testPassword) {
					t.Errorf("the probe says %v", err)
				}
			})
		}
	}
}
