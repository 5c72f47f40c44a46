package wire

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/events"
)

// Silent returns what the stream of a channel listens to that takes no updates, because it
// was deleted or reads a topic: a subject that nobody publishes on.
func Silent(n events.Names, channel string) string { return n.Prefix() + ".silent." + channel }

// MetadataTopic is the metadata field that says which topic the stream's channel reads.
const MetadataTopic = "extsync.topic"

// MetadataDeleted is the metadata field that says when a stream's channel was
// deleted.
const MetadataDeleted = "extsync.deleted"

// MetadataChannelID is the metadata field of a channel's stream with the channel's
// id: made with the channel, and another one for each channel of the same name.
const MetadataChannelID = "extsync.channel_id"

// Control returns the subject on which the owner of a partition takes requests
// from administrators.
func Control(n events.Names, channel string, partition int) string {
	return n.Prefix() + ".ctl." + channel + "." + strconv.Itoa(partition)
}

// Administration returns the subject on which administrators take the requests of
// instances of the HTTP API that may not do them.
func Administration(n events.Names) string { return n.Prefix() + ".adm.http" }

// DeadLetter returns the subject of a dead letter.
func DeadLetter(n events.Names, channel, encodedKey string) string {
	return ofKey(n, "dead", channel, encodedKey)
}

// DeadOf returns the filter of a channel's dead letters, of all channels' if
// channel is "".
func DeadOf(n events.Names, channel string) string {
	if channel == "" {
		return DeadSubjects(n)
	}
	return n.Prefix() + ".dead." + channel + ".>"
}

// SplitDead takes the subject of a dead letter apart.
func SplitDead(n events.Names, subject string) (channel, encodedKey string, ok bool) {
	return splitSpread(n, "dead", subject)
}

// ParkedUpdate returns the subject of a parked update.
func ParkedUpdate(n events.Names, channel, encodedKey string) string {
	return ofKey(n, "parked", channel, encodedKey)
}

// DeadFilter returns the filter of all dead letters of a channel.
func DeadFilter(n events.Names, channel string) string { return ofChannel(n, "dead", channel) }

// ParkedFilter returns the filter of all parked updates of a channel.
func ParkedFilter(n events.Names, channel string) string { return ofChannel(n, "parked", channel) }

// DeadStream returns the stream of dead letters, DeadSubjects what it listens to.
func DeadStream(n events.Names) string   { return n.StreamPrefix() + "_DEAD" }
func DeadSubjects(n events.Names) string { return n.Prefix() + ".dead.>" }

// ParkedStream returns the stream of parked updates, ParkedSubjects what it
// listens to.
func ParkedStream(n events.Names) string   { return n.StreamPrefix() + "_PARKED" }
func ParkedSubjects(n events.Names) string { return n.Prefix() + ".parked.>" }

// Outcomes returns the subject of a partition's part of the outcome log. The
// incarnation is part of it: what is written with the last sequence of another one
// expected must fail, although a restored broker gives that sequence again.
func Outcomes(n events.Names, channel string, i Incarnation, partition int) string {
	return n.Prefix() + ".out." + channel + "." + i.String() + "." + strconv.Itoa(partition)
}

// OutcomesOf returns the filter of a channel's part of the outcome log, of all
// incarnations.
func OutcomesOf(n events.Names, channel string) string {
	return n.Prefix() + ".out." + channel + ".*.*"
}

// PartitionOutcomes returns the filter of a partition's part of the outcome log, of all
// incarnations.
func PartitionOutcomes(n events.Names, channel string, partition int) string {
	return n.Prefix() + ".out." + channel + ".*." + strconv.Itoa(partition)
}

// OutcomePosition returns where a record of the outcome log stands.
func OutcomePosition(n events.Names, subject string, seq uint64) (LogPosition, error) {
	p := LogPosition{Seq: seq}
	parts := strings.Split(subject, ".")
	if len(parts) != 5 || parts[0] != n.Prefix() || parts[1] != "out" {
		return p, fmt.Errorf("%w: %.80q is no subject of the outcome log", events.ErrName, subject)
	}
	return p, p.Incarnation.UnmarshalText([]byte(parts[3]))
}

// OutcomeStream returns the stream of the outcome log, OutcomeSubjects what it
// listens to.
func OutcomeStream(n events.Names) string   { return n.StreamPrefix() + "_OUTCOMES" }
func OutcomeSubjects(n events.Names) string { return n.Prefix() + ".out.>" }

// AckStream returns the stream that keeps acks for named services, AckSubjects
// what it listens to.
func AckStream(n events.Names) string   { return n.StreamPrefix() + "_ACKS" }
func AckSubjects(n events.Names) string { return n.Prefix() + ".acks.>" }

// ReplyAllowed reports whether a worker may send an ack to this subject: an
// inbox (a first token that starts with _INBOX, then one token or more) or a
// named service's subject. Anything else would make the worker publish with its
// own rights wherever a publisher likes.
func ReplyAllowed(n events.Names, subject string) bool {
	if len(subject) > events.MaxReplyLen {
		return false
	}
	tokens, inbox, service := 0, false, false
	for token := range strings.SplitSeq(subject, ".") {
		switch tokens {
		case 0:
			inbox, service = strings.HasPrefix(token, "_INBOX"), token == n.Prefix()
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
func IsServiceAck(n events.Names, subject string) bool {
	return strings.HasPrefix(subject, n.Prefix()+".acks.")
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
func InstallationBucket(n events.Names) string { return n.Prefix() + "_installation" }

// The buckets: channel configurations, ledger, progress, live workers, leases.
func RegistryBucket(n events.Names) string { return n.Prefix() + "_channels" }
func LedgerBucket(n events.Names) string   { return n.Prefix() + "_ledger" }
func ProgressBucket(n events.Names) string { return n.Prefix() + "_progress" }
func WorkersBucket(n events.Names) string  { return n.Prefix() + "_workers" }
func LeasesBucket(n events.Names) string   { return n.Prefix() + "_leases" }

// TokensBucket returns the bucket of the HTTP API's tokens, IdempotencyBucket
// the one of its answers to requests with an Idempotency-Key.
func TokensBucket(n events.Names) string      { return n.Prefix() + "_tokens" }
func IdempotencyBucket(n events.Names) string { return n.Prefix() + "_idempotency" }

// JobsBucket returns the bucket of the jobs that somebody has started.
func JobsBucket(n events.Names) string { return n.Prefix() + "_jobs" }

// SessionsBucket returns the bucket of what is known of logins: a list, and which have ended.
func SessionsBucket(n events.Names) string { return n.Prefix() + "_sessions" }

// LettersBucket returns the bucket that says which dead letters of a key are ended.
func LettersBucket(n events.Names) string { return n.Prefix() + "_letters" }

// AuditStream returns the stream of administrative acts, AuditSubjects what it
// listens to, and Audit the subject of one kind of act.
func AuditStream(n events.Names) string          { return n.StreamPrefix() + "_AUDIT" }
func AuditSubjects(n events.Names) string        { return n.Prefix() + ".audit.>" }
func Audit(n events.Names, action string) string { return n.Prefix() + ".audit." + action }

// LedgerKey returns the ledger's key of an entity, with the partitions of the entity's key
// as in a stored update.
func LedgerKey(n events.Names, channel, encodedKey string) string { return place(channel, encodedKey) }

// LedgerSubject returns the subject of an entity's record in the ledger. Who listens
// to it hears each record as it is written.
func LedgerSubject(n events.Names, channel, encodedKey string) string {
	return ledger(n) + place(channel, encodedKey)
}

// LedgerRecords returns the filter of a channel's records in the ledger.
func LedgerRecords(n events.Names, channel string) string {
	return ledger(n) + spread(channel, "*", "*", "*")
}

// PartitionRecords returns the filter of the records of one of a channel's partitions, as
// PartitionUpdates does.
func PartitionRecords(n events.Names, channel string, partition, partitions int) string {
	return ledger(n) + ofPartition(channel, partition, partitions)
}

func ledger(n events.Names) string { return KVSubject(LedgerBucket(n), "") }

// KVSubject returns the subject that holds a key of a bucket, KVStream the
// stream behind the bucket (both fixed by ADR-8 of the NATS project).
func KVSubject(bucket, key string) string { return "$KV." + bucket + "." + key }
func KVStream(bucket string) string       { return "KV_" + bucket }

func hash32(s string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s)) // a hash never fails to write
	return h.Sum32()
}

// KeyOfSubject returns the encoded key of a subject whose last token it is: of a stored or
// parked update, a dead letter or a ledger record.
func KeyOfSubject(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }
