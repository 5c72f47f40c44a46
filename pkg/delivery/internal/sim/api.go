package sim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const apiPrefix = "$JS.API."

// A failure is the error in an answer.
type failure struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func failed(code, number int, text string) map[string]any {
	return map[string]any{"error": failure{code, number, text}}
}

var (
	noStream   = failed(404, 10059, "stream not found")   //nolint:gochecknoglobals // a constant
	noConsumer = failed(404, 10014, "consumer not found") //nolint:gochecknoglobals // a constant
	noMessage  = failed(404, 10037, "no message found")   //nolint:gochecknoglobals // a constant
)

// api answers a request of the JetStream API.
func (b *Broker) api(c *client, p publication) {
	call := strings.TrimPrefix(p.subject, apiPrefix)
	if rest, ok := strings.CutPrefix(call, "CONSUMER.MSG.NEXT."); ok {
		b.pull(c, p, rest)
		return
	}
	if rest, ok := strings.CutPrefix(call, "DIRECT.GET."); ok {
		b.directGet(c, p, rest)
		return
	}
	out := b.call(call, p.data)
	if created, ok := out.(newborn); ok {
		b.introduce(c, p, created)
		return
	}
	if out == nil {
		b.answer(c, p.reply, nil, []byte(`{"success":true}`))
		return
	}
	data, ready := out.([]byte)
	if !ready {
		var err error
		if data, err = json.Marshal(out); err != nil {
			panic(err)
		}
	}
	b.answer(c, p.reply, nil, data)
}

// A newborn is a consumer that was just made.
type newborn struct {
	*consumer
	info any // before anything is sent
}

// introduce answers that a consumer was made, then lets it send. That answer is never lost
// to one that pushes: the client holds the lock of a watch until it has come.
func (b *Broker) introduce(c *client, p publication, n newborn) {
	data, err := json.Marshal(n.info)
	if err != nil {
		panic(err)
	}
	if n.cfg.DeliverSubject != "" {
		b.route(p.reply, "", nil, data)
	} else {
		b.answer(c, p.reply, nil, data)
	}
	n.pump()
}

// names returns the streams' names, sorted.
func (b *Broker) names() []string { return slices.Sorted(maps.Keys(b.streams)) }

// call carries a request out; nil: it succeeded, and there is nothing more to say.
func (b *Broker) call(call string, data []byte) any {
	f := strings.Split(call, ".")
	what := strings.Join(f[:min(2, len(f))], ".")
	switch what {
	case "INFO":
		return map[string]any{"streams": len(b.streams), "limits": map[string]any{"max_memory": -1, "max_storage": -1, "max_streams": -1, "max_consumers": -1}}
	case "STREAM.NAMES":
		return map[string]any{"streams": b.names(), "total": len(b.streams), "limit": 1024}
	case "STREAM.LIST":
		var list []any
		for _, name := range b.names() {
			list = append(list, b.streams[name].info(nil))
		}
		return map[string]any{"streams": list, "total": len(list), "limit": 256}
	case "STREAM.CREATE":
		return b.createStream(f[2], data)
	case "STREAM.MSG":
		s := b.streams[f[3]]
		if s == nil {
			return noStream
		}
		if f[2] == "DELETE" {
			return s.deleteMessage(data)
		}
		return s.get(data)
	}
	if len(f) < 3 {
		panic("sim: the API call " + call + " is not simulated")
	}
	s := b.streams[f[2]]
	if s == nil {
		return noStream
	}
	s.expire()
	switch what {
	case "STREAM.UPDATE":
		return s.update(data)
	case "STREAM.INFO":
		return s.info(data)
	case "STREAM.DELETE":
		s.stop()
		delete(b.streams, f[2])
		return nil
	case "STREAM.PURGE":
		return s.purge(data)
	case "CONSUMER.CREATE":
		return s.createConsumer(f[3:], data)
	case "CONSUMER.NAMES":
		return map[string]any{"consumers": slices.Sorted(maps.Keys(s.consumers)), "total": len(s.consumers), "limit": 1024}
	case "CONSUMER.INFO", "CONSUMER.DELETE":
		c := s.consumers[f[3]]
		if c == nil {
			return noConsumer
		}
		if what == "CONSUMER.INFO" {
			return c.info()
		}
		s.deleteConsumer(c)
		return nil
	}
	panic("sim: the API call " + call + " is not simulated")
}

func (b *Broker) createStream(name string, data []byte) any {
	var cfg jetstream.StreamConfig
	if err := json.Unmarshal(data, &cfg); err != nil {
		panic(err)
	}
	if s := b.streams[name]; s != nil {
		return failed(400, 10058, "stream name already in use with a different configuration")
	}
	cfg.Replicas = max(1, cfg.Replicas)
	for _, n := range []*int64{&cfg.MaxMsgs, &cfg.MaxBytes, &cfg.MaxMsgsPerSubject} {
		if *n == 0 {
			*n = -1
		}
	}
	if cfg.MaxConsumers == 0 {
		cfg.MaxConsumers = -1
	}
	if cfg.MaxMsgSize == 0 {
		cfg.MaxMsgSize = -1
	}
	if cfg.Duplicates == 0 {
		cfg.Duplicates = 2 * time.Minute
	}
	s := newStream(b, cfg)
	b.streams[name] = s
	return s.info(nil)
}

func (s *stream) update(data []byte) any {
	var cfg jetstream.StreamConfig
	if err := json.Unmarshal(data, &cfg); err != nil {
		panic(err)
	}
	s.cfg, s.encoded = cfg, nil
	return s.info(nil)
}

func (s *stream) info(data []byte) any {
	var request struct {
		Filter string `json:"subjects_filter"`
		Offset int    `json:"offset"`
	}
	_ = json.Unmarshal(data, &request) // there may be none
	state := map[string]any{
		"messages": len(s.msgs), "bytes": 0, "last_seq": s.last, "last_ts": s.lastAt, "num_subjects": len(s.bySubject),
		"consumer_count": len(s.consumers), "first_seq": s.last + 1,
	}
	if len(s.msgs) > 0 {
		state["first_seq"], state["first_ts"] = s.msgs[0].seq, s.msgs[0].at
	}
	out := map[string]any{"config": s.config(), "created": s.created, "state": state, "ts": time.Now()}
	if request.Filter != "" {
		subjects := map[string]uint64{}
		for subject, of := range s.bySubject {
			if matches(request.Filter, subject) {
				subjects[subject] = uint64(len(of))
			}
		}
		out["total"], out["limit"], out["offset"] = len(subjects), 100_000, request.Offset
		if request.Offset > 0 {
			subjects = nil
		}
		state["subjects"] = subjects
	}
	return out
}

// config returns the stream's configuration as JSON.
func (s *stream) config() json.RawMessage {
	if s.encoded == nil {
		var err error
		if s.encoded, err = json.Marshal(s.cfg); err != nil {
			panic(err)
		}
	}
	return s.encoded
}

func (s *stream) purge(data []byte) any {
	var request struct {
		Filter   string `json:"filter"`
		Sequence uint64 `json:"seq"`
	}
	_ = json.Unmarshal(data, &request) // there may be none
	n := 0
	for _, m := range slices.Clone(s.msgs) {
		if (request.Filter == "" || matches(request.Filter, m.subject)) && (request.Sequence == 0 || m.seq < request.Sequence) {
			s.remove(m, true)
			n++
		}
	}
	return map[string]any{"success": true, "purged": n}
}

func (s *stream) deleteMessage(data []byte) any {
	var request struct {
		Sequence uint64 `json:"seq"`
	}
	if err := json.Unmarshal(data, &request); err != nil {
		panic(err)
	}
	m := s.at(request.Sequence)
	if m == nil {
		return failed(404, 10043, "no message found")
	}
	s.remove(m, true)
	return nil
}

// A query is a request for a message.
type query struct {
	Sequence uint64 `json:"seq"`
	LastOn   string `json:"last_by_subj"`
	NextOn   string `json:"next_by_subj"`
	Batch    int    `json:"batch"`
}

func (s *stream) find(q query) *message {
	s.expire()
	switch {
	case q.LastOn != "":
		return s.lastOn(q.LastOn)
	case q.NextOn != "":
		return s.next(q.Sequence, q.NextOn)
	default:
		return s.at(q.Sequence)
	}
}

func (s *stream) get(data []byte) any {
	var q query
	if err := json.Unmarshal(data, &q); err != nil {
		panic(err)
	}
	m := s.find(q)
	if m == nil {
		return noMessage
	}
	out := append(make([]byte, 0, 256+2*len(m.header)+2*len(m.data)), `{"message":{"subject":"`...) // by hand: it is what is asked most
	out = append(append(out, m.subject...), `","seq":`...)
	out = append(strconv.AppendUint(out, m.seq, 10), `,"hdrs":"`...)
	out = append(base64.StdEncoding.AppendEncode(out, m.header), `","data":"`...)
	out = append(base64.StdEncoding.AppendEncode(out, m.data), `","time":"`...)
	return append(m.at.UTC().AppendFormat(out, time.RFC3339Nano), `"}}`...)
}

// directGet answers a read from any replica.
func (b *Broker) directGet(c *client, p publication, rest string) {
	name, subject, named := strings.Cut(rest, ".")
	s := b.streams[name]
	if s == nil || !s.cfg.AllowDirect {
		b.answer(c, p.reply, noResponders, nil)
		return
	}
	q := query{LastOn: subject}
	if !named {
		if err := json.Unmarshal(p.data, &q); err != nil {
			panic(err)
		}
	}
	m := s.find(q)
	if m == nil {
		b.answer(c, p.reply, []byte("NATS/1.0 404 Message Not Found\r\n\r\n"), nil)
		return
	}
	head := strings.TrimSuffix(string(m.header), "\r\n")
	if head == "" {
		head = "NATS/1.0\r\n"
	}
	head += "Nats-Stream: " + name + "\r\nNats-Subject: " + m.subject + "\r\nNats-Sequence: " + strconv.FormatUint(m.seq, 10) + "\r\nNats-Time-Stamp: " + stamp(m.at) + "\r\n"
	if q.Batch > 0 {
		behind := 0
		for next := s.next(m.seq+1, q.NextOn); next != nil; next = s.next(next.seq+1, q.NextOn) {
			behind++
		}
		head += "Nats-Num-Pending: " + itoa(behind) + "\r\n"
	}
	b.answer(c, p.reply, []byte(head+"\r\n"), m.data)
	if q.Batch > 0 {
		b.answer(c, p.reply, []byte("NATS/1.0 204 EOB\r\n\r\n"), nil)
	}
}

func (s *stream) createConsumer(path []string, data []byte) any {
	var request struct {
		Config json.RawMessage `json:"config"`
	}
	if err := json.Unmarshal(data, &request); err != nil {
		panic(err)
	}
	var named struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(request.Config, &named)
	name := named.Name
	if name == "" && len(path) > 0 {
		name = path[0]
	}
	if name == "" {
		name = fmt.Sprintf("c%d", s.last) + itoa(len(s.consumers)) + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	if old := s.consumers[name]; old != nil {
		return old.info()
	}
	c, err := s.newConsumer(name, request.Config)
	if err != nil {
		panic(err)
	}
	if s.cfg.Retention == jetstream.WorkQueuePolicy {
		for _, other := range s.consumers {
			if c.overlaps(other) {
				return failed(400, 10100, "filtered consumer not unique on workqueue stream")
			}
		}
	}
	s.consumers[name] = c
	return newborn{c, c.info()}
}

func (s *stream) deleteConsumer(c *consumer) {
	for _, p := range slices.Clone(c.pulls) {
		c.endPull(p, "409 Consumer Deleted")
	}
	c.stop()
	delete(s.consumers, c.name)
}

func (c *consumer) info() any {
	return map[string]any{
		"stream_name": c.s.cfg.Name, "name": c.name, "created": c.created, "config": c.raw,
		"delivered": map[string]any{"consumer_seq": c.delivered, "stream_seq": c.upto}, "ack_floor": map[string]any{},
		"num_ack_pending": len(c.unacked), "num_waiting": len(c.pulls), "num_pending": c.pending(),
	}
}

// pull takes a request for messages of <stream>.<consumer>.
func (b *Broker) pull(c *client, p publication, rest string) {
	name, of, _ := strings.Cut(rest, ".")
	s := b.streams[name]
	if s == nil || s.consumers[of] == nil {
		b.route(p.reply, "", noResponders, nil)
		return
	}
	var request struct {
		Batch     int           `json:"batch"`
		MaxBytes  int           `json:"max_bytes"`
		Expires   time.Duration `json:"expires"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
		NoWait    bool          `json:"no_wait"`
	}
	if err := json.Unmarshal(p.data, &request); err != nil {
		panic(err)
	}
	s.consumers[of].addPull(&pull{
		c: c, reply: p.reply, left: max(1, request.Batch), bytes: request.MaxBytes, bounded: request.MaxBytes > 0, heartbeat: request.Heartbeat,
	}, request.Expires, request.NoWait)
}
