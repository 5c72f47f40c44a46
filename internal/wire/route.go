package wire

import (
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/events"
)

// kindOf is the token of the subjects under which the stream of a route holds updates.
func kindOf(r events.Route) string {
	if r.Topic() != "" {
		return "top"
	}
	return "upd"
}

// StoredUpdate returns the subject under which the stream holds an update: the
// server inserts the partitions of the key (see UpdateTransform).
func StoredUpdate(n events.Names, r events.Route, encodedKey string) string {
	return ofKey(n, kindOf(r), r.Name(), encodedKey)
}

// StoredUpdates returns the filter of all stored updates of a route.
func StoredUpdates(n events.Names, r events.Route) string { return ofChannel(n, kindOf(r), r.Name()) }

// PartitionUpdates returns the filter of the stored updates of a route that one of a
// channel's partitions reads, which are one of PartitionCounts.
func PartitionUpdates(n events.Names, r events.Route, partition, partitions int) string {
	return n.Prefix() + "." + kindOf(r) + "." + ofPartition(r.Name(), partition, partitions)
}

// SplitStoredUpdate takes a stored subject apart.
func SplitStoredUpdate(n events.Names, subject string) (r events.Route, encodedKey string, ok bool) {
	if name, enc, ok := splitSpread(n, "upd", subject); ok {
		return events.ToChannel(name), enc, true
	}
	if name, enc, ok := splitSpread(n, "top", subject); ok {
		return events.ToTopic(name), enc, true
	}
	return events.Route{}, "", false
}

// UpdateTransform returns the subject transform of a route's stream: from the published to
// the stored form. The server computes the partitions as Partition does.
func UpdateTransform(n events.Names, r events.Route) (source, destination string) {
	partition := func(of int) string { return "{{partition(" + strconv.Itoa(of) + ",1)}}" }
	return n.Update(r, "*"), n.Prefix() + "." + kindOf(r) + "." + spread(r.Name(), partition(fewPartitions), partition(manyPartitions), "{{wildcard(1)}}")
}

// UpdateStream returns the stream of a route's updates.
func UpdateStream(n events.Names, r events.Route) string {
	if r.Topic() != "" {
		return n.StreamPrefix() + "_TOPIC_" + r.Name()
	}
	return n.StreamPrefix() + "_UPD_" + r.Name()
}

// IsUpdateStream reports whether a stream is that of a route's updates.
func IsUpdateStream(n events.Names, stream string) bool {
	return strings.HasPrefix(stream, UpdateStream(n, events.ToChannel(""))) || strings.HasPrefix(stream, n.StreamPrefix()+"_TOPIC_")
}
