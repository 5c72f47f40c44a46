package wire

import (
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// A Meaning is what an error of the broker means for whoever made the request. The
// broker's list of error codes is decided here and nowhere else; docs/contract.md
// has the part that a client of one's own meets.
type Meaning uint8

const (
	// Undecided: no error of the broker, or a code that this table does not have yet.
	Undecided Meaning = iota
	// Repeat: nothing is decided. The very same request, after a moment, is safe.
	Repeat
	// ReadAgain: somebody else was faster. Read what is there, from the leader.
	ReadAgain
	// Full: the stream has no room.
	Full
	// BrokerFull: the account or the servers have no room, or no more than so many
	// streams or consumers.
	BrokerFull
	// TooLarge: the message is larger than the stream takes.
	TooLarge
	// NoMessage, NoStream, NoConsumer: it is not there.
	NoMessage
	NoStream
	NoConsumer
	// Exists: somebody else has made it meanwhile, not quite like this.
	Exists
	// Overlap: another consumer has these messages of a work queue.
	Overlap
	// Unavailable: nobody who could decide is there, as while a leader is elected.
	Unavailable
	// Failed: the broker tried and could not, for a reason that it names.
	Failed
	// Misconfigured: somebody has to change the broker or its account first.
	Misconfigured
	// Bug: we never ask for such a thing, so one of us is wrong.
	Bug
)

// codeMeaning returns what a code means; Undecided if it is not in the table.
func codeMeaning(code jetstream.ErrorCode) Meaning {
	switch code {
	case 10158, // the same message id is on its way through a cluster, from somebody else
		10163, // so is a message of the same subject
		10167, // too many messages at once
		10202, 10210, 10211:
		return Repeat
	case 10071, 10164: // the last sequence of the subject is another one
		return ReadAgain
	case 10077: // "maximum bytes exceeded" and its like; a store that is closing says it, too
		return Full
	case 10002, 10023, 10026, 10027, 10028, 10047, 10053, 10122:
		return BrokerFull
	case 10054, 10097:
		return TooLarge
	case 10037, 10043:
		return NoMessage
	case 10059:
		return NoStream
	case 10014, 10149:
		return NoConsumer
	case 10013, 10058, 10105, 10148:
		return Exists
	case 10099, 10100:
		return Overlap
	case 10004, 10007, 10008, 10009, 10041,
		10005,                      // a young cluster does not know all of its servers yet; or there are too few, or none with room
		10118, 10119, 10194, 10195: // offline
		return Unavailable
	case 10012, 10048, 10049, 10050, 10051, 10057, 10069, 10104, 10110, 10111:
		return Failed
	case 10006, 10010, 10035, 10036, 10039, 10065, 10074, 10076, 10109, 10113, 10120, 10185:
		return Misconfigured
	}
	if neverAsked(code) {
		return Bug
	}
	return Undecided
}

// neverAsked reports whether a code answers what we never ask for, or never in this
// way.
func neverAsked(code jetstream.ErrorCode) bool {
	switch code {
	case 10003, 10011, 10025, 10038, 10052, 10056, 10060, 10061, 10070, 10096, 10117, 10123, 10124, 10126, 10128, 10129, 10133,
		10155, 10156, 10157, 10180, 10193, 10225, 10226: // requests and streams
		return true
	case 10016, 10017, 10018, 10019, 10020, 10078, 10079, 10080, 10081, 10082, 10083, 10084, 10085, 10086, 10087, 10088, 10089,
		10090, 10091, 10092, 10093, 10094, 10095, 10098, 10101, 10102, 10103, 10106, 10107, 10108, 10112, 10114, 10115, 10116,
		10121, 10125, 10127, 10131, 10132, 10134, 10135, 10136, 10137, 10138, 10139, 10153, 10159, 10160, 10161, 10162, 10178,
		10181, 10182, 10183, 10184, 10196, 10197, 10204, 10218, 10219, 10220, 10221, 10222: // consumers
		return true
	case 10015, 10042, 10062, 10063, 10064, 10072, 10130: // backups
		return true
	case 10040, 10044, 10075, 10224: // servers of a cluster
		return true
	case 10021, 10022, 10024, 10029, 10030, 10031, 10032, 10033, 10034, 10045, 10046, 10055, 10140, 10141, 10142, 10143, 10144,
		10145, 10146, 10147, 10150, 10151, 10152, 10154, 10173, 10186, 10187, 10198, 10209, 10213, 10214, 10215, 10216, 10217,
		10227, 10228: // mirrors and sources
		return true
	case 10066, 10067, 10068, 10073: // templates
		return true
	case 10165, 10166, 10168, 10169, 10170, 10171, 10172, 10188, 10189, 10190, 10191, 10192, 10203, 10212, 10223: // lifetimes, counters, schedules
		return true
	case 10174, 10175, 10176, 10177, 10179, 10199, 10200, 10201, 10205, 10206, 10207, 10208: // batches
		return true
	default:
		return false
	}
}

// MeaningOf returns what an error of the broker means; Undecided for nil and for all
// other errors.
func MeaningOf(err error) Meaning {
	if err == nil { // mostly; what follows allocates
		return Undecided
	}
	var api *jetstream.APIError
	if errors.As(err, &api) {
		return codeMeaning(api.ErrorCode)
	}
	var js jetstream.JetStreamError
	if errors.As(err, &js) && js.APIError() != nil {
		return codeMeaning(js.APIError().ErrorCode)
	}
	return Undecided
}

// IsWrongSequence reports whether the broker refused a publish because the
// expected sequence (or revision) was not the last one: read again.
func IsWrongSequence(err error) bool { return MeaningOf(err) == ReadAgain }

// IsFull reports whether the broker refused to store because there is no room, in
// the stream or in all of the account or broker.
func IsFull(err error) bool {
	m := MeaningOf(err)
	return m == Full || m == BrokerFull
}
