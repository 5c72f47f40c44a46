package events

import (
	"time"

	"github.com/hms-utl/extsync/pkg/versioning"
)

// Outcome is how the delivery of an update ended.
type Outcome string

// The outcomes. Every accepted update ends in exactly one of them.
const (
	Delivered    Outcome = "delivered"
	Superseded   Outcome = "superseded"
	Conflict     Outcome = "conflict"
	DeadLettered Outcome = "dead_lettered"
)

// CodeFiltered is the code of an update that the channel's filter kept back: its
// outcome is Delivered, as it needs nothing more, but nothing was sent. The
// target holds what it held before.
const CodeFiltered = "filtered"

// CodeRemoved is the code of an update that the channel's filter kept back when the target
// held an earlier version of the key, or may have: the key was deleted there in its place
// (on_unmatch: delete).
const CodeRemoved = "removed"

// A Settlement says what became of one version of a key.
type Settlement struct {
	Version  versioning.Version `json:"version"`
	Digest   versioning.Digest  `json:"digest,omitzero"`
	ID       string             `json:"id,omitempty"`
	Outcome  Outcome            `json:"outcome"`
	Attempts int                `json:"attempts,omitempty"` // that counted against the update
	// By is the version that overtook this one, for Superseded.
	By versioning.Version `json:"by,omitzero"`
	// Class, Code and Message say why, for all but Delivered. Message is at most
	// MaxMessageLen bytes and holds no secret.
	Class   string    `json:"class,omitempty"`
	Code    string    `json:"code,omitempty"`
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at"`
	// Response is the beginning of what the target answered, in one line of at most
	// MaxResponseLen bytes and without the connector's secrets; "" if there was no
	// answer. That of a delivered update is in the outcome log only.
	Response string `json:"response,omitempty"`
}

// MaxMessageLen bounds the message of a Settlement, MaxResponseLen its response,
// in bytes.
const (
	MaxMessageLen  = 300
	MaxResponseLen = 512
)

// CodeOlder is the code of Superseded where the ledger knew of a newer version. Of class
// stale with any other code, the target said so itself.
const CodeOlder = "older"

// CodeGivenUp is the code of an update that an operator has given up.
const CodeGivenUp = "given_up"

// An Ack tells a publisher what became of its update. It may come more than
// once, with the same content.
type Ack struct {
	Format  int    `json:"f"`
	Channel string `json:"channel"`
	// Topic is the one that the channel reads, and to which the update was published; "": it
	// was published to the channel.
	Topic string `json:"topic,omitempty"`
	Key   string `json:"key"`
	Settlement
}

// Failure is why the last attempt failed.
type Failure struct {
	Class   string `json:"class,omitempty"`
	Code    string `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Response is the beginning of what the target answered, see Settlement.
	Response string `json:"response,omitempty"`
}

// Failure returns why a delivery did not succeed.
func (s *Settlement) Failure() *Failure {
	return &Failure{Class: s.Class, Code: s.Code, Message: s.Message, Response: s.Response}
}
