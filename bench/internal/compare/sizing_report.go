package compare

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Markdown writes the tables of docs/operations.md.
func (r *SizingReport) Markdown(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, load %s", r.Machine, r.Load)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, ", %s %s", name, r.Versions[name])
	}
	b.WriteString("\n\n| keys, target | broker: imported | delivered | restarted | worker, most | audit, most | stream | ledger | outcome log | files |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range r.Sizes {
		each := func(size int64) string { return fmt.Sprintf("%d MB (%d B)", size/1_000_000, size/int64(s.Keys)) }
		fmt.Fprintf(&b, "| %s | %d MB | %d MB | %d MB | %d MB | %d MB | %s | %s | %s | %s |\n", s.name(),
			s.Imported/1_000_000, s.Delivered/1_000_000, s.Again/1_000_000, s.Worker/1_000_000, s.Auditor/1_000_000,
			each(s.Stream), each(s.Ledger), each(s.Log), each(s.Disk))
	}
	b.WriteString("\n| keys, target | import | delivery | audit | status, get | while it is delivered | broker restarted |\n|---|---|---|---|---|---|---|\n")
	for _, s := range r.Sizes {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.2f s, %.2f s | %.2f s, %.2f s | %.2f s, %.2f s |\n", s.name(), s.Import, s.Delivery, s.Audit,
			s.Status.Seconds(), s.Get.Seconds(), s.BusyStatus.Seconds(), s.BusyGet.Seconds(), s.AgainStatus.Seconds(), s.AgainGet.Seconds())
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (s *Size) name() string { return fmt.Sprintf("%s, %s", thousands(float64(s.Keys)), s.Target) }

// String says how many keys a second went through, and what each took of whose CPU time.
func (s Speed) String() string {
	var cpu []string
	for _, name := range slices.Sorted(maps.Keys(s.CPU)) {
		cpu = append(cpu, fmt.Sprintf("%s %.1f", name, float64(s.CPU[name])/float64(time.Microsecond)))
	}
	return fmt.Sprintf("%s/s (us of CPU: %s)", thousands(s.Rate), strings.Join(cpu, ", "))
}
