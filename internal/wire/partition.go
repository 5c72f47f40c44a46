package wire

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/events"
)

// Of a channel that has more than one partition there are few or many. These numbers never
// change: a stored subject holds the key's partition among the few, then that among the
// many. As one number divides the other, all keys of a partition of either kind have one
// literal prefix, so its consumer has one filter. For several, some servers search
// (docs/adr/0042).
const (
	fewPartitions  = 4
	manyPartitions = 16
)

// PartitionCounts returns how many partitions a channel may have, in ascending order.
func PartitionCounts() []int { return []int{1, fewPartitions, manyPartitions} }

// CheckPartitions reports whether a channel may have this many partitions.
func CheckPartitions(n int) error {
	if slices.Contains(PartitionCounts(), n) {
		return nil
	}
	return fmt.Errorf("%d is none of %d, %d and %d", n, 1, fewPartitions, manyPartitions)
}

// Partition returns which of a channel's partitions, one of PartitionCounts, an encoded
// key is in: FNV-1a (32 bit) modulo partitions, which is what the server computes.
func Partition(encodedKey string, partitions int) int {
	return int(hash32(encodedKey) % uint32(partitions)) //nolint:gosec // 1 to 16
}

// PartitionParked returns the filter of a partition's parked updates, as PartitionUpdates
// does.
func PartitionParked(n events.Names, channel string, partition, partitions int) string {
	return n.Prefix() + ".parked." + ofPartition(channel, partition, partitions)
}

// PartitionDead returns the filter of a partition's dead letters, as PartitionUpdates does.
func PartitionDead(n events.Names, channel string, partition, partitions int) string {
	return n.Prefix() + ".dead." + ofPartition(channel, partition, partitions)
}

func ofPartition(channel string, partition, partitions int) string {
	switch partitions {
	case 1:
		return spread(channel, "*", "*", "*")
	case fewPartitions:
		return spread(channel, strconv.Itoa(partition), "*", "*")
	default:
		return spread(channel, strconv.Itoa(partition%fewPartitions), strconv.Itoa(partition), "*")
	}
}

// ofChannel returns the filter of what is stored for any key of a channel.
func ofChannel(n events.Names, kind, channel string) string {
	return n.Prefix() + "." + kind + "." + spread(channel, "*", "*", "*")
}

// ofKey returns the subject of what is stored for a key.
func ofKey(n events.Names, kind, channel, encodedKey string) string {
	return n.Prefix() + "." + kind + "." + place(channel, encodedKey)
}

// place returns the tokens of a key's subjects behind what says of what kind they are.
func place(channel, encodedKey string) string {
	return channel + places[hash32(encodedKey)%manyPartitions] + encodedKey
}

// places are the tokens of a key's partitions, among the few and among the many, with a dot
// before, between and behind them.
var places = func() (tokens [manyPartitions]string) { //nolint:gochecknoglobals // a constant that the language cannot express as one
	for p := range tokens {
		tokens[p] = "." + strconv.Itoa(p%fewPartitions) + "." + strconv.Itoa(p) + "."
	}
	return tokens
}()

func spread(channel, ofFew, ofMany, key string) string {
	return channel + "." + ofFew + "." + ofMany + "." + key
}

// splitSpread takes a subject of spread apart.
func splitSpread(n events.Names, kind, subject string) (channel, encodedKey string, ok bool) {
	var tokens [6]string
	rest, more := subject, true
	for i := range tokens {
		if !more {
			return "", "", false
		}
		tokens[i], rest, more = strings.Cut(rest, ".")
	}
	if more || tokens[0] != n.Prefix() || tokens[1] != kind {
		return "", "", false
	}
	return tokens[2], tokens[5], true
}
