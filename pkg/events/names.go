package events

import (
	"errors"
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
)

// DefaultPrefix is the first token of every subject unless configured
// otherwise.
const DefaultPrefix = "sync"

// maxReplyLen bounds the subject that an ack is sent to, in bytes.
const maxReplyLen = 255

// maxChannelLen bounds the name of a channel, in bytes.
const maxChannelLen = 63

// ErrName says that a prefix, a channel name, a service name or an id cannot be
// part of a subject.
var ErrName = errors.New("invalid name")

var (
	prefixPattern = regexp.MustCompile(`^[a-z][a-z0-9]{0,15}$`)
	tokenPattern  = regexp.MustCompile(`^[A-Za-z0-9_=-]{1,200}$`)
)

// Names knows every subject, stream and bucket of one installation. All of them
// are made here and nowhere else. The zero Names is not usable; see NewNames.
type Names struct{ prefix, upper string }

// NewNames returns the names under a prefix: a lower-case letter, then up to 15
// lower-case letters and digits. Installations with different prefixes can share
// one NATS account.
func NewNames(prefix string) (Names, error) {
	if !prefixPattern.MatchString(prefix) {
		return Names{}, fmt.Errorf("%w: prefix %q does not match %s", ErrName, prefix, prefixPattern)
	}
	return Names{prefix: prefix, upper: strings.ToUpper(prefix)}, nil
}

// DefaultNames returns the names under DefaultPrefix.
func DefaultNames() Names { return Names{prefix: DefaultPrefix, upper: strings.ToUpper(DefaultPrefix)} }

// CheckChannel reports whether a channel may have this name: a lower-case letter
// or digit, then up to 62 of those, '_' and '-'.
func CheckChannel(name string) error {
	ok := name != "" && len(name) <= maxChannelLen && name[0] != '_' && name[0] != '-'
	for i := 0; ok && i < len(name); i++ { // asked for each update: a regular expression takes many times as long
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("%w: channel %q does not match ^[a-z0-9][a-z0-9_-]{0,62}$", ErrName, clip(name))
	}
	return nil
}

// Prefix returns the first token of every subject.
func (n Names) Prefix() string { return n.prefix }

// Update returns the subject that an update of a key is published on.
func (n Names) Update(channel, encodedKey string) string {
	return n.prefix + ".updates." + channel + "." + encodedKey
}

// StoredUpdate returns the subject under which the stream holds an update: the
// server inserts the partitions of the key (see UpdateTransform).
func (n Names) StoredUpdate(channel, encodedKey string) string {
	return n.ofKey("upd", channel, encodedKey)
}

// StoredUpdates returns the filter of all stored updates of a channel.
func (n Names) StoredUpdates(channel string) string { return n.ofChannel("upd", channel) }

// SplitStoredUpdate takes a stored subject apart.
func (n Names) SplitStoredUpdate(subject string) (channel, encodedKey string, ok bool) {
	return n.splitSpread("upd", subject)
}

// UpdateTransform returns the subject transform of a channel's update stream:
// from the published to the stored form. The server computes the partitions as
// Partition does.
func (n Names) UpdateTransform(channel string) (source, destination string) {
	partition := func(of int) string { return "{{partition(" + strconv.Itoa(of) + ",1)}}" }
	return n.Update(channel, "*"), n.prefix + ".upd." + spread(channel, partition(fewPartitions), partition(manyPartitions), "{{wildcard(1)}}")
}

// DeletedUpdates returns what the stream of a deleted channel listens to: a
// subject that nobody publishes on.
func (n Names) DeletedUpdates(channel string) string { return n.prefix + ".deleted." + channel }

// MetadataDeleted is the metadata field that says when a stream's channel was
// deleted.
const MetadataDeleted = "extsync.deleted"

// MetadataChannelID is the metadata field of a channel's stream with the channel's
// id: made with the channel, and another one for each channel of the same name.
const MetadataChannelID = "extsync.channel_id"

// Control returns the subject on which the owner of a partition takes requests
// from administrators.
func (n Names) Control(channel string, partition int) string {
	return n.prefix + ".ctl." + channel + "." + strconv.Itoa(partition)
}

// Administration returns the subject on which administrators take the requests of
// instances of the HTTP API that may not do them.
func (n Names) Administration() string { return n.prefix + ".adm.http" }

// UpdateStream returns the stream of a channel's updates.
func (n Names) UpdateStream(channel string) string { return n.upper + "_UPD_" + channel }

// Dead returns the subject of a dead letter.
func (n Names) Dead(channel, encodedKey string) string { return n.ofKey("dead", channel, encodedKey) }

// DeadOf returns the filter of a channel's dead letters, of all channels' if
// channel is "".
func (n Names) DeadOf(channel string) string {
	if channel == "" {
		return n.DeadSubjects()
	}
	return n.prefix + ".dead." + channel + ".>"
}

// SplitDead takes the subject of a dead letter apart.
func (n Names) SplitDead(subject string) (channel, encodedKey string, ok bool) {
	return n.splitSpread("dead", subject)
}

// Parked returns the subject of a parked update.
func (n Names) Parked(channel, encodedKey string) string {
	return n.ofKey("parked", channel, encodedKey)
}

// DeadFilter returns the filter of all dead letters of a channel.
func (n Names) DeadFilter(channel string) string { return n.ofChannel("dead", channel) }

// ParkedFilter returns the filter of all parked updates of a channel.
func (n Names) ParkedFilter(channel string) string { return n.ofChannel("parked", channel) }

// DeadStream returns the stream of dead letters, DeadSubjects what it listens to.
func (n Names) DeadStream() string   { return n.upper + "_DEAD" }
func (n Names) DeadSubjects() string { return n.prefix + ".dead.>" }

// ParkedStream returns the stream of parked updates, ParkedSubjects what it
// listens to.
func (n Names) ParkedStream() string   { return n.upper + "_PARKED" }
func (n Names) ParkedSubjects() string { return n.prefix + ".parked.>" }

// Outcomes returns the subject of a partition's part of the outcome log. The
// incarnation is part of it: what is written with the last sequence of another one
// expected must fail, although a restored broker gives that sequence again.
func (n Names) Outcomes(channel string, i Incarnation, partition int) string {
	return n.prefix + ".out." + channel + "." + i.String() + "." + strconv.Itoa(partition)
}

// OutcomesOf returns the filter of a channel's part of the outcome log, of all
// incarnations.
func (n Names) OutcomesOf(channel string) string { return n.prefix + ".out." + channel + ".*.*" }

// PartitionOutcomes returns the filter of a partition's part of the outcome log, of all
// incarnations.
func (n Names) PartitionOutcomes(channel string, partition int) string {
	return n.prefix + ".out." + channel + ".*." + strconv.Itoa(partition)
}

// OutcomePosition returns where a record of the outcome log stands.
func (n Names) OutcomePosition(subject string, seq uint64) (LogPosition, error) {
	p := LogPosition{Seq: seq}
	parts := strings.Split(subject, ".")
	if len(parts) != 5 || parts[0] != n.prefix || parts[1] != "out" {
		return p, fmt.Errorf("%w: %q is no subject of the outcome log", ErrName, clip(subject))
	}
	return p, p.Incarnation.UnmarshalText([]byte(parts[3]))
}

// OutcomeStream returns the stream of the outcome log, OutcomeSubjects what it
// listens to.
func (n Names) OutcomeStream() string   { return n.upper + "_OUTCOMES" }
func (n Names) OutcomeSubjects() string { return n.prefix + ".out.>" }

// ServiceAck returns the subject on which a named service gets an ack that is
// kept for it. service and id are single tokens of [A-Za-z0-9_=-].
func (n Names) ServiceAck(service, id string) (string, error) {
	if !tokenPattern.MatchString(service) || !tokenPattern.MatchString(id) {
		return "", fmt.Errorf("%w: service %q and id %q must match %s", ErrName, clip(service), clip(id), tokenPattern)
	}
	subject := n.prefix + ".acks." + service + "." + id
	if len(subject) > maxReplyLen {
		return "", fmt.Errorf("%w: service and id make a subject of %d bytes, more than %d", ErrName, len(subject), maxReplyLen)
	}
	return subject, nil
}

// ServiceAcks returns the filter of all acks that are kept for a named service.
func (n Names) ServiceAcks(service string) (string, error) {
	if !tokenPattern.MatchString(service) {
		return "", fmt.Errorf("%w: service %q must match %s", ErrName, clip(service), tokenPattern)
	}
	return n.prefix + ".acks." + service + ".*", nil
}

// AckStream returns the stream that keeps acks for named services, AckSubjects
// what it listens to.
func (n Names) AckStream() string   { return n.upper + "_ACKS" }
func (n Names) AckSubjects() string { return n.prefix + ".acks.>" }

// ReplyAllowed reports whether a worker may send an ack to this subject: an
// inbox (a first token that starts with _INBOX, then one token or more) or a
// named service's subject. Anything else would make the worker publish with its
// own rights wherever a publisher likes.
func (n Names) ReplyAllowed(subject string) bool {
	if len(subject) > maxReplyLen {
		return false
	}
	tokens, inbox, service := 0, false, false
	for token := range strings.SplitSeq(subject, ".") {
		switch tokens {
		case 0:
			inbox, service = strings.HasPrefix(token, "_INBOX"), token == n.prefix
		case 1:
			service = service && token == "acks"
		}
		if !replyToken(token) {
			return false
		}
		tokens++
	}
	return inbox && tokens >= 2 || service && tokens == 4
}

// IsServiceAck reports whether an allowed reply subject is a named service's,
// whose acks the broker keeps.
func (n Names) IsServiceAck(subject string) bool {
	return strings.HasPrefix(subject, n.prefix+".acks.")
}

func replyToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '*' || c == '>' {
			return false
		}
	}
	return s != ""
}

// InstallationBucket returns the bucket of what concerns the installation as a
// whole: its incarnation.
func (n Names) InstallationBucket() string { return n.prefix + "_installation" }

// The buckets: channel configurations, ledger, progress, live workers, leases.
func (n Names) RegistryBucket() string { return n.prefix + "_channels" }
func (n Names) LedgerBucket() string   { return n.prefix + "_ledger" }
func (n Names) ProgressBucket() string { return n.prefix + "_progress" }
func (n Names) WorkersBucket() string  { return n.prefix + "_workers" }
func (n Names) LeasesBucket() string   { return n.prefix + "_leases" }

// TokensBucket returns the bucket of the HTTP API's tokens, IdempotencyBucket
// the one of its answers to requests with an Idempotency-Key.
func (n Names) TokensBucket() string      { return n.prefix + "_tokens" }
func (n Names) IdempotencyBucket() string { return n.prefix + "_idempotency" }

// LettersBucket returns the bucket that says which dead letters of a key are ended.
func (n Names) LettersBucket() string { return n.prefix + "_letters" }

// AuditStream returns the stream of administrative acts, AuditSubjects what it
// listens to, and Audit the subject of one kind of act.
func (n Names) AuditStream() string        { return n.upper + "_AUDIT" }
func (n Names) AuditSubjects() string      { return n.prefix + ".audit.>" }
func (n Names) Audit(action string) string { return n.prefix + ".audit." + action }

// LedgerKey returns the ledger's key of an entity, with the partitions of the entity's key
// as in a stored update.
func (n Names) LedgerKey(channel, encodedKey string) string { return place(channel, encodedKey) }

// LedgerSubject returns the subject of an entity's record in the ledger. Who listens
// to it hears each record as it is written.
func (n Names) LedgerSubject(channel, encodedKey string) string {
	return n.ledger() + place(channel, encodedKey)
}

// LedgerRecords returns the filter of a channel's records in the ledger.
func (n Names) LedgerRecords(channel string) string {
	return n.ledger() + spread(channel, "*", "*", "*")
}

// PartitionRecords returns the filter of the records of one of a channel's partitions, as
// PartitionUpdates does.
func (n Names) PartitionRecords(channel string, partition, partitions int) string {
	return n.ledger() + ofPartition(channel, partition, partitions)
}

func (n Names) ledger() string { return KVSubject(n.LedgerBucket(), "") }

// KVSubject returns the subject that holds a key of a bucket, KVStream the
// stream behind the bucket (both fixed by ADR-8 of the NATS project).
func KVSubject(bucket, key string) string { return "$KV." + bucket + "." + key }
func KVStream(bucket string) string       { return "KV_" + bucket }

// clip bounds a text from outside before it goes into an error.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

func hash32(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s)) // a hash never fails to write
	return h.Sum32()
}
