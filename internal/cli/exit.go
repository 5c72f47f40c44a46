package cli

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/hms-utl/extsync/internal/app"
	"github.com/hms-utl/extsync/internal/broker"
	"github.com/hms-utl/extsync/internal/tokens"
	"github.com/hms-utl/extsync/internal/tryout"
	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/guardrace"
	"github.com/hms-utl/extsync/pkg/deadletters"
	"github.com/hms-utl/extsync/pkg/delivery"
	"github.com/hms-utl/extsync/pkg/events"
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
  6    not delivered: it ended as dead_lettered or conflict (push --wait), or fails (channels test)
  7    unknown channel, key or dead letter
  8    there is something to see: changes (plan), differences (audit), problems (doctor, workers, channels test --guard)
  130  interrupted`

// Errors of this package.
var (
	// errUsage marks a command line that cannot be run.
	errUsage = errors.New("wrong usage")
	// errUndelivered says that a delivery ended without success.
	errUndelivered = errors.New("not delivered")
)

// storageHint is for a broker that has not as much room as is reserved.
const storageHint = "give the broker more storage (its max_file_store, or the account's limit), or reserve less: --storage-ledger-bytes, " +
	"--storage-outcome-bytes, --storage-dead-bytes, --storage-parked-bytes, --storage-ack-bytes, and max_bytes of the channels"

// A verdict is what an error means for who ran the command.
type verdict struct {
	code int
	hint string
	is   []error
}

// verdicts lists them in the order in which they are tried: what is more special
// comes first, because errors wrap each other.
func verdicts() []verdict {
	return []verdict{
		{ExitUsage, "nothing was changed; run it again with --yes to do it", []error{errUnconfirmed}},
		{ExitUnexpected, "correct what is named and run it again: what is done is not done twice", []error{errSomeFailed}},
		{ExitNoAck, "nothing is lost by waiting; 'extsync get KEY' says where it is, and what holds it back", []error{errWaited}},
		{ExitUnknown, "'extsync dead list' shows what there is; a letter goes when its key is delivered", []error{deadletters.ErrNotFound}},
		{ExitRefused, "its update is on its way; try again in a moment", []error{deadletters.ErrPending}},
		{ExitRefused, "there is nothing left to do but to discard the letter", []error{deadletters.ErrResolved}},
		{ExitRefused, "let the platform publish the entity anew, then discard the letter", []error{deadletters.ErrMalformed}},
		{ExitRefused, "wait for the outcome of the other update, and try again", []error{deadletters.ErrBusy}},
		{ExitUndelivered, "the letter stays as it is; mend the target, or have the platform publish the entity anew", []error{deadletters.ErrStillFails}},
		{ExitRefused, "'extsync dead show LETTER' says where it stands; try again in a moment", []error{channels.ErrReplay}},
		{ExitUsage, "--help lists what can be selected by", []error{deadletters.ErrFilter, channels.ErrSelection}},
		{ExitRefused, "pause what publishes the key, wait until it is delivered, and try again", []error{channels.ErrKeyBusy, channels.ErrReset}},
		{ExitRefused, "stop the one that runs, or wait for its end", []error{channels.ErrResyncActive}},
		{ExitRefused, "let the platform publish the entities anew", []error{channels.ErrNothingKept}},
		{ExitUnknown, "start one with 'extsync resync CHANNEL'", []error{channels.ErrNoResync}},
		{ExitBroker, "start a connector-worker, or resume the channel", []error{channels.ErrNoOwner}},
		{ExitRefused, "use a connector that can be read: sql in the modes document and table, or http with read.url in its configuration", []error{app.ErrNotReadable}},
		{ExitBroker, "'extsync broker-config' writes what each role needs; make the configuration again if the channel is new", []error{broker.ErrRefused}},
		{ExitRefused, "'extsync kinds' tells how strong the guard of each kind is", []error{guardrace.ErrNothingToRace}},
		{ExitRefused, "give a key that is nobody's, or none", []error{tryout.ErrTaken}},
		{ExitUndelivered, "see that the target takes the payload of --data, that no filter keeps it back, and that VERSION is newer than what the target holds", []error{guardrace.ErrNoRace}},
		{ExitUndelivered, "nothing is stored or tried again; correct the channel or the sample and test again", []error{tryout.ErrFailed}},
		{ExitUsage, "allow it where this command runs, in the setting that the message names: it opens the connector itself, as a worker does", []error{connectors.ErrNotAllowed}},
		{ExitUsage, "give the secret where this command runs: it resolves it itself, as a worker does", []error{connectors.ErrSecret}},
		{ExitNoAck, "it is stored, and nothing is lost; 'extsync get KEY' says where it is, and what holds it back", []error{events.ErrNoAck}},
		{ExitUndelivered, "'extsync get KEY' shows what the target answered; a newer version takes its place", []error{errUndelivered}},
		{ExitRefused, "the platform has moved on: read the entity again and publish its newest version", []error{events.ErrStale}},
		{ExitRefused, "'extsync get KEY' shows the newest version: publish what follows from it under a new version; the content of a version never changes", []error{events.ErrConflict}},
		{ExitUnknown, "'extsync channels list' shows what there is; 'extsync channels apply -f FILE' makes a channel", []error{events.ErrUnknownChannel, channels.ErrNotFound}},
		{ExitUnknown, "check the key; keys are compared byte by byte", []error{app.ErrUnknownKey}},
		{ExitUsage, "send a reference to the content instead, or raise max_payload at the broker", []error{events.ErrTooLarge}},
		{ExitUnknown, "'extsync channels restore' brings the channel back", []error{events.ErrChannelDeleted}},
		{ExitUsage, "the mode is fixed when a channel is made: make a channel of another name", []error{channels.ErrImmutable}},
		{ExitBroker, "see that a connector-worker runs, then apply again", []error{channels.ErrNotDrained}},
		{ExitUnknown, "'extsync tokens list' shows what there is", []error{tokens.ErrNotFound}},
		{ExitUsage, "correct the fields that are named; --help tells what is allowed", []error{events.ErrInvalidUpdate, tokens.ErrInvalid, versioning.ErrSyntax}},
		{ExitBroker, "if files of the broker were restored, see that 'extsync recover' was run after it; if the bucket is gone, run 'extsync doctor --fix'; then start this again", []error{events.ErrIncarnation}},
		{ExitBroker, "'extsync channels apply -f FILE' provisions the broker; if it was provisioned before, check --prefix, and run 'extsync doctor': it names what is gone, and --fix makes it again", []error{events.ErrNotProvisioned}},
		{ExitUsage, "correct what is named; --help lists every flag and variable", []error{connectors.ErrConfig, connectors.ErrUnknownKind, delivery.ErrOptions}},
		{ExitUsage, "check the path and who may read it", []error{fs.ErrNotExist, fs.ErrPermission}},
		{ExitBroker, "another process may use the directory or the address; choose others with --data-dir and --listen", []error{app.ErrEmbedded}},
		{ExitBroker, "start a broker ('extsync dev' runs one for trying out), or give its address with --nats-url or EXTSYNC_NATS_URL", []error{broker.ErrConnect}},
		{ExitBroker, "start the NATS server with JetStream (-js), and allow it for this account", []error{jetstream.ErrJetStreamNotEnabled, jetstream.ErrJetStreamNotEnabledForAccount}},
		{ExitBroker, storageHint, []error{channels.ErrNoRoom}},
		{ExitBroker, "free the broker's disk and start it again: after a write that failed it stores nothing until then; 'extsync doctor' names the streams", []error{app.ErrNotStored}},
		{ExitBroker, "give the broker more storage (its max_file_store, or the account's limit); nothing can be stored until then", []error{events.ErrBrokerFull}},
		{ExitBroker, "let the channel drain, or raise its max_bytes", []error{events.ErrFull}},
		{ExitUnexpected, "what read the output ended before this command did", []error{syscall.EPIPE}},
		{ExitUnexpected, "run it again", []error{events.ErrBusy, channels.ErrRevision}},
	}
}

// classify returns the exit code of an error and what to do about it.
func classify(err error) (code int, hint string) {
	for _, v := range verdicts() {
		for _, target := range v.is {
			if errors.Is(err, target) {
				return v.code, v.hint
			}
		}
	}
	switch m := events.MeaningOf(err); {
	case events.IsFull(err):
		return ExitBroker, storageHint
	case m == events.Failed, m == events.Misconfigured:
		return ExitBroker, "the broker says why; correct it there and run it again"
	case events.IsUnavailable(err):
		return ExitBroker, "check the broker and run it again: repeating the same command is safe"
	case errors.Is(err, context.Canceled):
		return ExitInterrupted, ""
	default:
		return ExitUnexpected, "run it again with --log-level=debug to see more"
	}
}

// report writes one line that says what happened and one that says what to do.
func (sh *Shell) report(err error, hint string) {
	text := sh.style(sh.Err, bold, "error:") + " " + clean(oneLine(err.Error())) + "\n"
	if hint != "" {
		text += sh.style(sh.Err, bold, "hint:") + " " + hint + "\n"
	}
	_, _ = io.WriteString(sh.Err, text) // there is nobody else to tell
}

// oneLine puts the lines of joined errors behind each other.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
