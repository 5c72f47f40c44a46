package standing

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/why"
)

// A Finding is one reason for which partitions of a channel do not move.
type Finding struct {
	why.Reason
	Partitions  []int  `json:"partitions,omitempty"` // none: all
	Undelivered uint64 `json:"undelivered"`          // in these
	// Alarm: somebody should look at it now. Updates wait, and not because somebody
	// wants them to.
	Alarm  bool   `json:"alarm"`
	Advice string `json:"advice"`
}

// String returns the finding in one sentence: code, place, count and message.
func (f *Finding) String() string {
	text := string(f.Code) + ": "
	if len(f.Partitions) > 0 {
		text += partitionsText(f.Partitions) + ": "
	}
	text += f.Reason.String()
	if f.Undelivered > 0 {
		text += fmt.Sprintf("; %d updates wait", f.Undelivered)
	}
	return text
}

// partitionsNamed bounds how many partitions a sentence names.
const partitionsNamed = 8

func partitionsText(partitions []int) string {
	var names []string
	for _, p := range partitions[:min(len(partitions), partitionsNamed)] {
		names = append(names, strconv.Itoa(p))
	}
	text := "partition "
	if len(partitions) > 1 {
		text = "partitions "
	}
	text += strings.Join(names, ", ")
	if more := len(partitions) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// gather puts partitions together that do not move for the same reason.
func gather(partitions []Partition) []Finding {
	var out []Finding
	for i := range partitions {
		p := &partitions[i]
		if p.Why == nil {
			continue
		}
		same := slices.IndexFunc(out, func(f Finding) bool {
			return f.Code == p.Why.Code && f.Message == p.Why.Message && f.Worker == p.Why.Worker
		})
		if same < 0 {
			same = len(out)
			out = append(out, Finding{Reason: *p.Why, Advice: p.Why.Code.Advice()})
		}
		f := &out[same]
		f.Partitions = append(f.Partitions, p.Partition)
		f.Undelivered += p.Undelivered
		f.Alarm = f.Alarm || p.Alarm
	}
	for i := range out {
		if len(out[i].Partitions) == len(partitions) {
			out[i].Partitions = nil
		}
	}
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Or(compareAlarms(a, b), why.Compare(a.Code, b.Code))
	})
	return out
}

func compareAlarms(a, b Finding) int {
	switch {
	case a.Alarm == b.Alarm:
		return 0
	case a.Alarm:
		return -1
	default:
		return 1
	}
}
