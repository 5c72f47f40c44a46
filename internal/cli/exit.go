package cli

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/config"
	"github.com/hms-utl/extsync/internal/jobs"
	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/internal/relay"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/internal/tryout"
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/guardrace"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/extsync"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The exit codes. They are part of the interface: scripts depend on them.
const (
	ExitOK          = 0
	ExitUnexpected  = 1
	ExitUsage       = 2
	ExitBroker      = 3
	ExitRefused     = 4
	ExitNoAck       = 5
	ExitUndelivered = 6
	ExitUnknown     = 7
	ExitFound       = 8
	ExitRejected    = 9
	ExitInterrupted = 130
)

// ExitCodes is the part of --help that documents them.
const ExitCodes = `Exit codes:
  0    done
  1    unexpected error
  2    wrong usage, or an invalid configuration or update
  3    the broker is not available, not provisioned or full
  4    refused: stale, a conflict, or not in a state that allows it
  5    stored, but no ack came in time
  6    not delivered: it ended as dead_lettered or conflict (push --wait, import --wait), or fails (channels test)
  7    unknown channel, topic, key or dead letter
  8    there is something to see: changes (plan), differences (audit, relay --compare), problems (doctor, workers, channels test --guard, connector test)
  9    import is done, and lines were rejected; with --dry-run: they would be, or would fail
  130  interrupted`

// Errors of this package.
var (
	// errUsage marks a command line that cannot be run.
	errUsage = errors.New("wrong usage")
	// errRejected says that lines of an import were not published.
	errRejected = errors.New("rejected")
	// errUndelivered says that a delivery ended without success.
	errUndelivered = errors.New("not delivered")
)

// storageHint is for a broker that has not as much room as is reserved.
const storageHint = "give the broker more storage (its max_file_store, or the account's limit), or reserve less: --storage-ledger-bytes, " +
	"--storage-outcome-bytes, --storage-dead-bytes, --storage-parked-bytes, --storage-ack-bytes, and max_bytes of the channels"

// A verdict is what an error means for who ran the command.
type verdict struct {
	exit int
	code string // one word for programs; where the HTTP API has a reason for it, the same
	hint string
	is   []error
}

// verdicts lists them in the order in which they are tried: what is more special
// comes first, because errors wrap each other.
func verdicts() []verdict {
	return []verdict{
		{ExitUsage, "unconfirmed", "nothing was changed; run it again with --yes to do it", []error{errUnconfirmed}},
		{ExitUnexpected, "some_failed", "correct what is named and run it again: what is done is not done twice", []error{errSomeFailed}},
		{ExitNoAck, "no_outcome", "nothing is lost by waiting; 'extsync get KEY' says where it is, and what holds it back", []error{errWaited}},
		{ExitUnknown, "unknown_dead_letter", "'extsync dead list' shows what there is; a letter goes when its key is delivered", []error{deadletters.ErrNotFound}},
		{ExitUnknown, "unknown_job", "'extsync jobs list' shows those of the last 30 days", []error{jobs.ErrNotFound}},
		{ExitRefused, "job_over", "'extsync jobs show JOB' says how it ended", []error{jobs.ErrOver}},
		{ExitUsage, "invalid", "--help lists what can be selected by", []error{jobs.ErrInvalid}},
		{ExitRefused, "exists", "give another name; 'extsync channels apply -f FILE' changes a channel that is there, and 'extsync channels restore' brings a deleted one back", []error{operate.ErrExists}},
		{ExitRejected, "rejected", "correct these lines in the input and run it again: what the channel has already is skipped", []error{errRejected}},
		{ExitUnexpected, "unhealthy", "see that the process runs there; its log says what it waits for, and so does 'extsync doctor'", []error{errUnhealthy}},
		{ExitRefused, "pending", "its update is on its way; try again in a moment", []error{deadletters.ErrPending}},
		{ExitRefused, "resolved", "there is nothing left to do but to discard the letter", []error{deadletters.ErrResolved}},
		{ExitRefused, "malformed", "let the platform publish the entity anew, then discard the letter", []error{deadletters.ErrMalformed}},
		{ExitRefused, "busy", "wait for the outcome of the other update, and try again", []error{deadletters.ErrBusy}},
		{ExitUndelivered, "still_fails", "the letter stays as it is; mend the target, or have the platform publish the entity anew", []error{deadletters.ErrStillFails}},
		{ExitRefused, "not_sent", "'extsync dead show LETTER' says where it stands; try again in a moment", []error{channels.ErrReplay}},
		{ExitRefused, "not_read", "'extsync status CHANNEL' says what the target waits for; try again in a moment", []error{channels.ErrReadBack}},
		{ExitUsage, "invalid", "--help lists what can be selected by", []error{deadletters.ErrFilter, channels.ErrSelection, operate.ErrCursor, jobs.ErrCursor}},
		{ExitRefused, "key_busy", "pause what publishes the key, wait until it is delivered, and try again", []error{channels.ErrKeyBusy, channels.ErrReset}},
		{ExitRefused, "filling", "'extsync resync CHANNEL --follow' shows how far it is", []error{channels.ErrFilling}},
		{ExitRefused, "resync_active", "stop the one that runs, or wait for its end", []error{channels.ErrResyncActive}},
		{ExitRefused, "nothing_kept", "let the platform publish the entities anew", []error{channels.ErrNothingKept, operate.ErrNotKept}},
		{ExitUnknown, "no_resync", "start one with 'extsync resync CHANNEL'", []error{channels.ErrNoResync}},
		{ExitBroker, "no_worker", "start a connector-worker, or resume the channel", []error{channels.ErrNoOwner}},
		{ExitRefused, "not_readable", "use a connector that can be read: sql in the modes document and table, or http with read.url in its configuration", []error{operate.ErrNotReadable}},
		{ExitBroker, "no_permission", "'extsync broker-config' writes what each role needs; make the configuration again if the channel is new", []error{broker.ErrRefused}},
		{ExitRefused, "no_guard", "'extsync kinds' tells how strong the guard of each kind is", []error{guardrace.ErrNothingToRace}},
		{ExitRefused, "key_taken", "give a key that is nobody's, or none", []error{tryout.ErrTaken}},
		{ExitUndelivered, "no_race", "see that the target takes the payload of --data, that no filter keeps it back, and that VERSION is newer than what the target holds", []error{guardrace.ErrNoRace}},
		{ExitUndelivered, "undelivered", "nothing is stored or tried again; correct the channel or the sample and test again", []error{tryout.ErrFailed}},
		{ExitUsage, "not_allowed", "allow it where this command runs, in the setting that the message names: it opens the connector itself, as a worker does", []error{connectors.ErrNotAllowed}},
		{ExitUsage, "secret_missing", "give the secret where this command runs: it resolves it itself, as a worker does", []error{connectors.ErrSecret}},
		{ExitNoAck, "no_ack", "it is stored, and nothing is lost; 'extsync get KEY' says where it is, and what holds it back", []error{events.ErrNoAck}},
		{ExitUndelivered, "undelivered", "'extsync get KEY' shows what the target answered; a newer version takes its place", []error{errUndelivered}},
		{ExitRefused, "stale", "the platform has moved on: read the entity again and publish its newest version", []error{events.ErrStale}},
		{ExitRefused, "conflict", "'extsync get KEY' shows the newest version: publish what follows from it under a new version; the content of a version never changes", []error{events.ErrConflict}},
		{ExitUnknown, "unknown_topic", "'extsync topics list' shows what there is; 'extsync topics apply -f FILE' makes a topic", []error{events.ErrUnknownTopic, channels.ErrNoTopic}},
		{ExitRefused, "reads_topic", "give the topic that the channel reads: --topic, in place of CHANNEL", []error{events.ErrReadsTopic}},
		{ExitRefused, "topic_deleting", "'extsync topics delete NAME --yes' goes on where that ended", []error{channels.ErrTopicDeleting}},
		{ExitRefused, "topic_read", "purge the channels that are named, or keep the topic; a channel that was deleted lately may still be restored, and counts", []error{channels.ErrTopicRead}},
		{ExitUnknown, "unknown_channel", "'extsync channels list' shows what there is; 'extsync channels apply -f FILE' makes a channel", []error{events.ErrUnknownChannel, channels.ErrNotFound}},
		{ExitUnknown, "unknown_key", "check the key; keys are compared byte by byte", []error{operate.ErrUnknownKey, channels.ErrUnknownKey}},
		{ExitUsage, "too_large", "send a reference to the content instead, or raise max_payload at the broker", []error{events.ErrTooLarge}},
		{ExitRefused, "channel_deleted", "'extsync channels restore' brings the channel back", []error{events.ErrChannelDeleted}},
		{ExitUsage, "immutable", "mode and topic are fixed when a channel is made: make a channel of another name", []error{channels.ErrImmutable}},
		{ExitBroker, "not_drained", "see that a connector-worker runs, then do this again; a channel that was deleted before goes by itself after 7 days", []error{channels.ErrNotDrained}},
		{ExitUnknown, "unknown_token", "'extsync tokens list' shows what there is", []error{tokens.ErrNotFound}},
		{ExitUsage, "invalid", "correct the fields that are named; --help tells what is allowed", []error{events.ErrInvalidUpdate, events.ErrName, tokens.ErrInvalid, versioning.ErrSyntax}},
		{ExitBroker, "restored", "if files of the broker were restored, see that 'extsync recover' was run after it; if the bucket is gone, run 'extsync doctor --fix'; then start this again", []error{events.ErrIncarnation}},
		{ExitBroker, "not_provisioned", "'extsync channels apply -f FILE' provisions the broker; if it was provisioned before, check --prefix, and run 'extsync doctor': it names what is gone, and --fix makes it again", []error{events.ErrNotProvisioned}},
		{ExitUsage, "invalid", "correct what is named; --help lists every flag and variable", []error{connectors.ErrConfig, connectors.ErrUnknownKind, delivery.ErrOptions, relay.ErrDSN, relay.ErrQuery}},
		{ExitUsage, "unknown_context", "'extsync context list' shows the contexts that there are", []error{config.ErrContext}},
		{ExitUsage, "invalid", "name its columns with --csv-key, --csv-version, --csv-op and --csv-json", []error{operate.ErrCSV}},
		{ExitUsage, "file", "check the path and who may read it", []error{fs.ErrNotExist, fs.ErrPermission}},
		{ExitBroker, "no_broker", "another process may use the directory or the address; choose others with --data-dir and --listen", []error{app.ErrEmbedded}},
		{ExitBroker, "tls", "check --nats-tls-ca-file (the authorities that may have signed the broker's certificate), the names and dates in that certificate," +
			" and --nats-tls-cert-file and --nats-tls-key-file if the broker asks for one of ours; tls:// in --nats-url demands TLS", []error{extsync.ErrTLS}},
		{ExitBroker, "credentials", "check --nats-creds-file or --nats-nkey-seed-file, or the user in --nats-url; 'extsync broker-config' makes credentials for each role", []error{extsync.ErrCredentials}},
		{ExitBroker, "broker_unavailable", "start a broker ('extsync dev' runs one for trying out), or give its address with --nats-url or EXTSYNC_NATS_URL", []error{extsync.ErrConnect}},
		{ExitBroker, "no_jetstream", "start the NATS server with JetStream (-js), and allow it for this account", []error{jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount}},
		{ExitBroker, "broker_full", storageHint, []error{channels.ErrNoRoom}},
		{ExitBroker, "not_stored", "free the broker's disk and start it again: after a write that failed it stores nothing until then; 'extsync doctor' names the streams", []error{operate.ErrNotStored}},
		{ExitBroker, "broker_full", "give the broker more storage (its max_file_store, or the account's limit); nothing can be stored until then", []error{events.ErrBrokerFull}},
		{ExitBroker, "channel_full", "raise max_bytes of the channel, or of the topic; a channel of mode every has room again when what it holds is delivered", []error{events.ErrFull}},
		{ExitUnexpected, "no_reader", "what read the output ended before this command did", []error{syscall.EPIPE}},
		{ExitUnexpected, "changed_meanwhile", "somebody else was faster: look at what is there now, and run it again", []error{events.ErrBusy}},
		{ExitRefused, "changed_meanwhile", "somebody else was faster: look at what is there now, and do it again", []error{channels.ErrRevision}},
	}
}

// classify returns what an error means.
func classify(err error) verdict {
	for _, v := range verdicts() {
		for _, target := range v.is {
			if errors.Is(err, target) {
				return v
			}
		}
	}
	switch m := wire.MeaningOf(err); {
	case wire.IsFull(err):
		return verdict{exit: ExitBroker, code: "broker_full", hint: storageHint}
	case m == wire.Failed, m == wire.Misconfigured:
		return verdict{exit: ExitBroker, code: "broker_failed", hint: "the broker says why; correct it there and run it again"}
	case wire.IsUnavailable(err):
		return verdict{exit: ExitBroker, code: "broker_unavailable", hint: "see that the broker runs and has a leader ('extsync doctor'), and run it again: repeating the same command is safe"}
	case errors.Is(err, context.Canceled):
		return verdict{exit: ExitInterrupted, code: "interrupted"}
	default:
		return verdict{exit: ExitUnexpected, code: "unexpected", hint: "run it again with --log-level=debug to see more"}
	}
}
