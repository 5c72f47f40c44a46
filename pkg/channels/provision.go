package channels

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/events"
)

// Storage says how much the broker keeps, and how often. The zero value stands
// for the defaults.
type Storage struct {
	// Replicas is on how many servers each stream lies, 1, 3 or 5. Defaults to 1.
	Replicas int
	// The sizes are reserved at the broker when it is provisioned: a full ledger
	// would stop all settling. Defaults: ledger and outcomes 1 GiB, the others
	// 256 MiB.
	LedgerBytes, OutcomeBytes, DeadBytes, ParkedBytes, AckBytes Bytes
	// OutcomeAge is how long the outcome log is kept. Defaults to 7 days.
	OutcomeAge time.Duration
}

const (
	defaultLedgerBytes = 1 << 30
	defaultOtherBytes  = 256 << 20
	smallBucketBytes   = 32 << 20
	tinyBucketBytes    = 1 << 20
	defaultOutcomeAge  = 7 * 24 * time.Hour
	ackAge             = 24 * time.Hour
	idempotencyAge     = 24 * time.Hour
	jobAge             = 30 * 24 * time.Hour
	sessionsAge        = 9 * time.Hour // a login ends after eight by itself
	sessionsBytes      = 4 << 20
	auditBytes         = 64 << 20
	silentBytes        = 64 << 10 // of a stream that takes nothing

	// PresenceAge is how long the broker keeps what workers write of themselves and
	// of their leases. It is the stream's own age, which a broker that was killed
	// enforces when it starts: the lifetimes of single messages are lost then, and
	// what had expired is there for ever (docs/adr/0030).
	PresenceAge = time.Minute

	// duplicateWindow is how long the broker recognises a repeated publish by
	// its id. The version guard stands behind it, so it may be short.
	duplicateWindow = 2 * time.Minute
)

func (s Storage) withDefaults() Storage {
	setDefault(&s.Replicas, 1)
	setDefault(&s.LedgerBytes, defaultLedgerBytes)
	setDefault(&s.OutcomeBytes, defaultLedgerBytes)
	setDefault(&s.DeadBytes, defaultOtherBytes)
	setDefault(&s.ParkedBytes, defaultOtherBytes)
	setDefault(&s.AckBytes, defaultOtherBytes)
	setDefault(&s.OutcomeAge, defaultOutcomeAge)
	return s
}

// Provision creates the streams and buckets that all channels share, or brings
// them up to date: Reserve without channels, for a program that does not care what
// was there before.
func Provision(ctx context.Context, js jetstream.JetStream, names events.Names, storage Storage) error {
	_, err := Reserve(ctx, js, names, storage, File{})
	return err
}

// SharedStreams returns how many streams and buckets all channels share.
func SharedStreams(names events.Names) int { return len(sharedStreams(names, Storage{})) }

// sharedStreams lists them in the order in which they are made: what settling
// needs comes first and has its own reservation.
func sharedStreams(names events.Names, s Storage) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name: wire.OutcomeStream(names), Subjects: []string{wire.OutcomeSubjects(names)},
			Description: "extsync: every outcome, in order",
			Storage:     jetstream.FileStorage, Discard: jetstream.DiscardOld,
			MaxBytes: int64(s.OutcomeBytes), MaxAge: s.OutcomeAge,
		},
		bucket(wire.LedgerBucket(names), s.LedgerBytes),
		keepAll(wire.DeadStream(names), wire.DeadSubjects(names), "extsync: updates that were given up", s.DeadBytes),
		parkedStream(names, s.ParkedBytes),
		{
			Name: wire.AckStream(names), Subjects: []string{wire.AckSubjects(names)},
			Description: "extsync: acks for named services",
			Storage:     jetstream.FileStorage, Discard: jetstream.DiscardOld,
			MaxBytes: int64(s.AckBytes), MaxAge: ackAge, Duplicates: duplicateWindow,
		},
		bucket(wire.InstallationBucket(names), tinyBucketBytes),
		heard(names, wire.RegistryBucket(names), bucket(wire.RegistryBucket(names), smallBucketBytes)),
		bucket(wire.ProgressBucket(names), smallBucketBytes),
		fleeting(bucket(wire.WorkersBucket(names), smallBucketBytes)),
		fleeting(bucket(wire.LeasesBucket(names), smallBucketBytes)),
		writtenOnce(bucket(wire.TokensBucket(names), smallBucketBytes)),
		forgetting(bucket(wire.SessionsBucket(names), sessionsBytes), sessionsAge),
		forgetting(bucket(wire.LettersBucket(names), smallBucketBytes), 0),
		forgetting(bucket(wire.JobsBucket(names), smallBucketBytes), jobAge),
		forgetting(bucket(wire.IdempotencyBucket(names), smallBucketBytes), idempotencyAge),
		{
			Name: wire.AuditStream(names), Subjects: []string{wire.AuditSubjects(names)},
			Description: "extsync: administrative acts",
			Storage:     jetstream.FileStorage, Discard: jetstream.DiscardOld,
			MaxBytes: auditBytes, Duplicates: duplicateWindow, DenyDelete: true, DenyPurge: true,
		},
	}
}

func keepAll(name, subjects, description string, size Bytes) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Subjects: []string{subjects}, Description: description,
		Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		MaxBytes: int64(size), Duplicates: duplicateWindow, AllowDirect: true,
	}
}

// parkedStream is read by whoever owns a partition: from the leader, like the
// ledger.
func parkedStream(names events.Names, size Bytes) jetstream.StreamConfig {
	cfg := keepAll(wire.ParkedStream(names), wire.ParkedSubjects(names), "extsync: updates moved out of the way", size)
	cfg.AllowDirect = false
	return cfg
}

// bucket returns the stream behind a key-value bucket with one revision per key.
// It is made by the stream API because the bucket API would set AllowDirect:
// what decides an attempt must be read from the leader, a replica may lag.
func bucket(name string, size Bytes) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              wire.KVStream(name),
		Subjects:          []string{wire.KVSubject(name, ">")},
		Storage:           jetstream.FileStorage,
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardNew,
		MaxBytes:          int64(size),
		AllowRollup:       true,
		DenyDelete:        true,
		Duplicates:        duplicateWindow,
		MaxConsumers:      -1,
		MaxMsgs:           -1,
	}
}

// fleeting lets a bucket drop its entries after PresenceAge.
func fleeting(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	cfg.MaxAge, cfg.Duplicates = PresenceAge, PresenceAge
	cfg.AllowMsgTTL = true // nobody uses it, but it cannot be taken from a bucket that has it
	return cfg
}

// forgetting lets a bucket drop its oldest entries, by age (0: any) and when it is full.
func forgetting(cfg jetstream.StreamConfig, age time.Duration) jetstream.StreamConfig {
	cfg.MaxAge, cfg.Discard = age, jetstream.DiscardOld
	return cfg
}

// heard lets the broker repeat what is stored in a bucket, see wire.Heard.
func heard(names events.Names, name string, cfg jetstream.StreamConfig) jetstream.StreamConfig {
	cfg.RePublish = &jetstream.RePublish{Source: wire.KVSubject(name, ">"), Destination: wire.Heard(names, name), HeadersOnly: true}
	return cfg
}

// writtenOnce lets a bucket take each key once and keep it: nobody who may only publish
// can change or remove what is there.
func writtenOnce(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	cfg.DiscardNewPerSubject, cfg.DenyPurge, cfg.AllowRollup = true, true, false
	return cfg
}

// channelStream returns the stream of a channel's updates. AllowRollup,
// AllowMsgSchedules and AllowMsgTTL stay off: with them a publisher could wipe
// or rewrite the stream by a header. A channel that reads a topic has one, too, which takes
// nothing: it holds the channel's id, and says to publishers where to go (docs/adr/0058).
func channelStream(names events.Names, e Entry, replicas int) jetstream.StreamConfig {
	c := e.Config
	route := events.ToChannel(c.Name)
	source, destination := wire.UpdateTransform(names, route)
	cfg := jetstream.StreamConfig{
		Name:             wire.UpdateStream(names, route),
		Description:      "extsync: updates of channel " + c.Name,
		Subjects:         []string{source},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: source, Destination: destination},
		Storage:          jetstream.FileStorage,
		Discard:          jetstream.DiscardNew,
		MaxBytes:         int64(c.MaxBytes),
		Duplicates:       duplicateWindow,
		AllowDirect:      true,
		Replicas:         replicas,
		Metadata:         map[string]string{wire.MetadataChannelID: e.ID},
	}
	if c.Mode == Every {
		cfg.Retention = jetstream.WorkQueuePolicy
	} else {
		cfg.Retention, cfg.MaxMsgsPerSubject = jetstream.LimitsPolicy, 1
	}
	if c.From != nil {
		cfg.MaxBytes = silentBytes
		cfg.Metadata[wire.MetadataTopic] = c.From.Topic
	}
	if !e.Deleted.IsZero() {
		cfg.Metadata[wire.MetadataDeleted] = e.Deleted.Format(time.RFC3339)
	}
	if c.From != nil || !e.Deleted.IsZero() { // it listens to nothing
		cfg.Subjects, cfg.SubjectTransform = []string{wire.Silent(names, c.Name)}, nil
	}
	return cfg
}
