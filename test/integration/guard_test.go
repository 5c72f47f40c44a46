package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/publish"
)

// A guardClient publishes as the contract says, and waits for the ack if asked to. It
// returns stored, stale or conflict; anything else is what hindered it, and it is asked
// again.
type guardClient interface {
	publish(key string, version, base int64, body string, wait bool) string
}

// goClient uses a publisher that did not publish the key's last version.
type goClient struct {
	r    *rig
	pubs [2]*publish.Publisher
}

func (c *goClient) publish(key string, version, base int64, body string, wait bool) string {
	u := events.Update{Channel: "c", Key: key, Version: testkit.Number(version), Payload: []byte(body)}
	if base > 0 {
		u.Base = testkit.Number(base)
	}
	pub := c.pubs[version%2]
	var err error
	if wait {
		_, _, err = pub.Request(c.r.t.Context(), u)
	} else {
		_, err = pub.Publish(c.r.t.Context(), u)
	}
	switch {
	case err == nil:
		return "stored"
	case errors.Is(err, events.ErrStale):
		return "stale"
	case errors.Is(err, events.ErrConflict):
		return "conflict"
	default:
		return err.Error()
	}
}

// httpClient asks the one instance of the API that did not publish the key's last version.
type httpClient struct {
	r    *rig
	urls [2]string
}

func (c *httpClient) publish(key string, version, base int64, body string, wait bool) string {
	doc := map[string]any{"key": key, "version": strconv.FormatInt(version, 10), "payload": json.RawMessage(body)}
	if base > 0 {
		doc["base"] = strconv.FormatInt(base, 10)
	}
	data, err := json.Marshal(doc)
	c.r.must(err)
	url := c.urls[version%2] + "/v1/channels/c/updates"
	if wait {
		url += "?wait=20s"
	}
	status, answer := c.r.fetch(http.MethodPost, url, string(data))
	var said struct{ Reason string }
	switch {
	case status == http.StatusOK || status == http.StatusAccepted && !wait:
		return "stored"
	case json.Unmarshal([]byte(answer), &said) == nil && (said.Reason == "stale" || said.Reason == "conflict"):
		return said.Reason
	default:
		return fmt.Sprint(status, answer)
	}
}

// contractClient is a raw client that guards as docs/contract.md says.
type contractClient struct {
	rawClient
	mode channels.Mode
	acks chan *nats.Msg // by its inbox
	to   string
}

// newest returns the newest version of a key, its digest, and the sequence to expect.
func (c *contractClient) newest(key string) (version int64, digest, sequence string) {
	ask := func(subject, body string) *nats.Msg {
		reply, err := c.nc.Request(subject, []byte(body), 5*time.Second)
		if err != nil {
			c.t.Fatal(err)
		}
		return reply
	}
	sequence = "0"
	if last := ask("$JS.API.DIRECT.GET.SYNC_UPD_c", `{"last_by_subj":"sync.upd.c.*.*.`+key+`"}`); last.Header.Get("Status") != "404" {
		sequence, digest = last.Header.Get("Nats-Sequence"), digestOf(string(last.Data))
		version, _ = strconv.ParseInt(last.Header.Get("ce-entityversion"), 10, 64)
		if c.mode == channels.Latest {
			return version, digest, sequence
		}
	}
	var answer struct {
		Message *struct {
			Data []byte `json:"data"`
		} `json:"message"`
	}
	decodeJSON(c.t, string(ask("$JS.API.STREAM.MSG.GET.KV_sync_ledger", `{"last_by_subj":"$KV.sync_ledger.c.*.*.`+key+`"}`).Data), &answer)
	if answer.Message == nil {
		return version, digest, sequence
	}
	type tag struct{ Version, Digest string }
	var rec struct{ Settled, Head tag }
	decodeJSON(c.t, string(answer.Message.Data), &rec)
	for _, known := range []tag{rec.Settled, rec.Head} {
		if n, err := strconv.ParseInt(known.Version, 10, 64); err == nil && n > version {
			version, digest = n, known.Digest
		}
	}
	return version, digest, sequence
}

func (c *contractClient) publish(key string, version, base int64, body string, wait bool) string {
	head, digest, sequence := c.newest(key)
	switch {
	case version < head:
		return "stale"
	case version == head && digest != digestOf(body) || version > head && base != 0 && base != head:
		return "conflict"
	}
	header := c.event("c", key, strconv.FormatInt(version, 10), body)
	header["Nats-Expected-Last-Subject-Sequence"] = sequence
	if wait {
		header["Extsync-Reply-To"] = c.to
	}
	answer := c.rawClient.publish("sync.updates.c."+key, header, body)
	if code := c.refusal(answer); code != 0 {
		return answer
	}
	for wait {
		ack, err := publish.DecodeAck(next(c.t, "the ack", c.acks).Data)
		if err != nil {
			c.t.Fatal(err)
		}
		wait = ack.Version != testkit.Number(version)
	}
	return "stored"
}

// tells has a client publish until it is told what the guard says.
func tells(t *testing.T, c guardClient, key string, version, base int64, body string, wait bool) string {
	t.Helper()
	said := ""
	testkit.Eventually(t, fmt.Sprintf("the guard's word on %s@%d", key, version), func() bool {
		said = c.publish(key, version, base, body, wait)
		return said == "stored" || said == "stale" || said == "conflict"
	})
	return said
}

// Right after its ack each client may publish what follows from a version, and neither an
// older one nor other content: while workers are killed, too. In mode every one of five
// right bases was refused, and most wrong versions were taken.
func TestGuardIsNeverBlind(t *testing.T) {
	t.Parallel()
	const keys = 12
	rounds := sized(t, "versions of each key", 25, 850) // 300, 10,200
	for _, mode := range []channels.Mode{channels.Latest, channels.Every} {
		for _, kind := range []string{"Go", "HTTP", "raw"} {
			t.Run(string(mode)+"/"+kind, func(t *testing.T) {
				t.Parallel()
				r := newRig(t)
				tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
				r.channel("c", mode, "http", tg.Connector())
				client := r.guardClients(kind, mode)
				stop := r.takeovers()
				var all sync.WaitGroup
				for n := range keys {
					all.Go(func() { followed(t, client(n), fmt.Sprint("k", n), int64(rounds), true) })
				}
				all.Wait()
				stop()
			})
		}
	}
}

// The versions of a key that fails lie in the parked stream, and have no outcome: the guard
// knows them all the same.
func TestGuardKnowsAKeyThatIsParked(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"Go", "HTTP", "raw"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			tg := faults.NewHTTPTarget(t, faults.HTTPOptions{})
			tg.Cause(faults.Trouble{Errors: 1})
			r.channel("c", channels.Every, "http", tg.Connector(), func(c *channels.Config) { c.Window, c.Partitions = 4, 1 })
			client := r.guardClients(kind, channels.Every)(0)
			r.worker("w0")
			stream, err := r.js.Stream(t.Context(), "SYNC_UPD_c")
			r.must(err)
			for v := int64(1); v <= 8; v++ {
				followed(t, client, "k", v, false)
				if v == 4 { // the window is full
					testkit.Eventually(t, "the versions to leave the stream", func() bool {
						info, err := stream.Info(t.Context())
						return err == nil && info.State.Msgs == 0
					})
				}
			}
		})
	}
}

// followed publishes versions up to upto, or that one only if nobody waits for acks, each
// from the one before; and before each what the guard must refuse.
func followed(t *testing.T, c guardClient, key string, upto int64, wait bool) {
	first := int64(1)
	if !wait {
		first = upto
	}
	for v := first; v <= upto; v++ {
		if v > 1 {
			if said := tells(t, c, key, v-1, 0, `{"other":true}`, false); said != "conflict" {
				t.Errorf("other content of %s@%d: %s", key, v-1, said)
			}
		}
		if v > 2 {
			if said := tells(t, c, key, v-2, 0, `{"n":1}`, false); said != "stale" {
				t.Errorf("%s@%d after %d: %s", key, v-2, v-1, said)
			}
		}
		if said := tells(t, c, key, v, v-1, `{"n":1}`, wait); said != "stored" {
			t.Errorf("%s@%d, from %d: %s", key, v, v-1, said)
		}
	}
}

// guardClients returns what makes clients of a kind, one for each key.
func (r *rig) guardClients(kind string, mode channels.Mode) func(n int) guardClient {
	r.t.Helper()
	switch kind {
	case "Go":
		c := &goClient{r: r}
		for i := range c.pubs {
			var err error
			c.pubs[i], err = publish.New(r.t.Context(), r.js, r.names)
			r.must(err)
		}
		return func(int) guardClient { return c }
	case "HTTP":
		c := &httpClient{r: r}
		for i := range c.urls {
			_, c.urls[i] = r.publisher(fmt.Sprint("p", i))
		}
		return func(int) guardClient { return c }
	default:
		return func(int) guardClient {
			c := &contractClient{rawClient: rawClient{r.t, r.nc}, mode: mode, to: r.nc.NewInbox(), acks: make(chan *nats.Msg, 64)}
			_, err := r.nc.ChanSubscribe(c.to, c.acks)
			r.must(err)
			return c
		}
	}
}

// takeovers starts two workers, and kills one after the other until stop is called.
func (r *rig) takeovers() (stop func()) {
	workers := []*faults.Process{r.worker("w0"), r.worker("w1")}
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 2; ; n++ {
			select {
			case <-stopped:
				return
			case <-time.After(2 * time.Second):
			}
			workers[n%2].Kill()
			workers[n%2] = r.worker(fmt.Sprint("w", n))
		}
	}()
	return func() {
		close(stopped)
		<-ended
	}
}
