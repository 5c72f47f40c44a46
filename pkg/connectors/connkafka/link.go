package connkafka

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

const (
	// dialWithin bounds one connection: the client also makes some for which no call waits.
	dialWithin = 10 * time.Second
	// mostAnswer bounds what a broker may answer at once, in bytes.
	mostAnswer = 16 << 20
	// mostBuffered bounds what a producer holds, in records and bytes.
	mostBuffered      = 4096
	mostBufferedBytes = 64 << 20
	// A group of calls that are written together ends with this many records or bytes.
	mostGrouped      = mostBuffered / 2
	mostGroupedBytes = mostBufferedBytes / 4
)

// A link knows how a cluster is reached.
type link struct {
	dialer  *connectors.Dialer
	tls     *tls.Config // nil: in the clear
	options []kgo.Opt
	timeout time.Duration
}

func newLink(c *Config, env connectors.Env) (*link, error) {
	s := connkit.NewSecrets(env)
	l := &link{timeout: connkit.TimeoutOf(env)}
	l.options = []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("extsync-" + env.Channel), kgo.DisableClientMetrics(),
		kgo.BrokerMaxReadBytes(mostAnswer), kgo.FetchMaxBytes(mostAnswer / 2), kgo.RequestTimeoutOverhead(l.timeout),
		// The engine tries again, so the client does it for what ends at once only: a leader
		// that has moved, a coordinator that is being found.
		kgo.RequestRetries(3), kgo.RecordRetries(6), kgo.UnknownTopicRetries(1), kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.RetryBackoffFn(func(n int) time.Duration { return min(25*time.Millisecond<<min(n, 10), time.Second) }),
	}
	if c.Security == securedByTLS {
		var err error
		if l.tls, err = c.TLS.Config(s); err != nil {
			return nil, connkit.Misconfigured("config", err)
		}
	}
	if m := mechanism(c, s.Text("password", c.Password)); m != nil {
		l.options = append(l.options, kgo.SASL(m))
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if err := kgo.ValidateOpts(append(l.producer(c, "id"), l.options...)...); err != nil {
		return nil, connkit.Misconfigured("config", err)
	}
	var err error
	l.dialer, err = env.Dialer(c.AllowCIDRs)
	return l, err
}

// mechanism returns how to log in, nil for not at all.
func mechanism(c *Config, password string) sasl.Mechanism {
	switch c.Mechanism {
	case plainSASL:
		return plain.Auth{User: c.User, Pass: password}.AsMechanism()
	case scram256:
		return scram.Auth{User: c.User, Pass: password}.AsSha256Mechanism()
	case scram512:
		return scram.Auth{User: c.User, Pass: password}.AsSha512Mechanism()
	default:
		return nil
	}
}

// client returns a new client, which connects when it is used. What keeps it from connecting
// is noted in t.
func (l *link) client(t *trouble, more ...kgo.Opt) (*kgo.Client, error) {
	dial := kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := l.dial(ctx, network, address)
		t.note(err)
		return conn, err
	})
	return kgo.NewClient(append(append([]kgo.Opt{dial}, l.options...), more...)...)
}

func (l *link) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	raw, err := l.dialer.DialContext(ctx, network, address)
	if err != nil || l.tls == nil {
		return raw, err
	}
	config := l.tls.Clone()
	if config.ServerName == "" {
		if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
			_ = raw.Close() // nothing was sent
			return nil, err
		}
	}
	secure := tls.Client(raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the error is the one that counts
		return nil, err
	}
	return secure, nil
}

// producer returns the options of a client that writes, in transactions if there is an id.
func (l *link) producer(c *Config, id string) []kgo.Opt {
	codec := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}[c.Compression]
	opts := []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)), kgo.ProducerBatchCompression(codec),
		kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(int32(c.MaxRecordBytes)), //nolint:gosec // at most 100 MB
		kgo.MaxBufferedRecords(mostBuffered), kgo.MaxBufferedBytes(max(mostBufferedBytes, 2*c.MaxRecordBytes)),
		kgo.ProduceRequestTimeout(min(max(l.timeout, time.Second), time.Minute)),
	}
	if id == "" {
		return opts
	}
	// A transaction that its worker has left open holds back consumers that read committed
	// records, until the next owner begins or this time is over.
	return append(opts, kgo.TransactionalID(id), kgo.TransactionTimeout(min(l.timeout+5*time.Second, 10*time.Minute)), kgo.ConcurrentTransactionsBackoff(5*time.Millisecond))
}

// tries are what became of the connections that one client has tried to make.
type tries struct {
	failed error // the last one, nil if it did not
	worked bool  // one of them did
}

// trouble keeps the tries of a client, which does not tell why it tries again. It is safe for
// concurrent use.
type trouble struct {
	mu sync.Mutex
	tries
}

// note takes the outcome of a connection that was tried.
func (t *trouble) note(err error) {
	t.mu.Lock()
	t.failed = err
	t.worked = t.worked || err == nil
	t.mu.Unlock()
}

func (t *trouble) sofar() tries {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tries
}
