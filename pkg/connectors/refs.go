package connectors

import "github.com/hms-utl/extsync/pkg/events"

// Refs are values that a target gave for a key and wants back with the next call, see
// events.Refs.
type Refs = events.Refs

// MaxRefs bounds the names and values of Refs, in bytes.
const MaxRefs = events.MaxRefs
