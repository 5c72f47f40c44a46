package channels

import (
	"github.com/hms-utl/extsync/internal/wire"
	"github.com/hms-utl/extsync/pkg/why"
)

// A Census is what a partition, or a channel, has in the streams that all channels share.
type Census struct {
	// Content is that of the configuration for which Outdated counts; 0: nothing was
	// counted yet.
	Content wire.ContentID `json:"content,omitempty"`
	// Keys are those with a record in the ledger, Outdated those of them of which the
	// target holds what another configuration has made.
	Keys     int64 `json:"keys,omitempty"`
	Outdated int64 `json:"outdated,omitempty"`
	// The bytes that the ledger's records take.
	LedgerBytes int64 `json:"ledger_bytes,omitempty"`
	// Standings say how the keys stand, by their records.
	Standings why.Counts `json:"standings,omitempty"`
	// Estimated says that a worker was killed since it was counted: what it wrote last
	// may be left out, until it has been counted again.
	Estimated bool `json:"estimated,omitempty"`
}
