package operate

import (
	"cmp"
	"time"

	"github.com/hms-utl/extsync/internal/standing"
	"github.com/hms-utl/extsync/pkg/why"
)

// An Attention is one reason for which keys of a channel are not what they should be.
type Attention struct {
	Channel string     `json:"channel"`
	Health  why.Health `json:"health" enum:"ok,retrying,parked,dead,down,paused,blocked"`
	Sync    why.Sync   `json:"sync" enum:"in_sync,filtered,waiting,behind,ahead,unknown"`
	Why     why.Code   `json:"why"`
	Text    string     `json:"text" doc:"In one sentence"`
	Advice  string     `json:"advice" doc:"The next step"`
	Since   time.Time  `json:"since,omitzero" doc:"None: not known"`
	Keys    int64      `json:"keys" doc:"That it concerns; where a partition does not move, the updates that wait there"`
	Person  bool       `json:"person" doc:"It does not mend itself"`
	Act     Remedy     `json:"act" enum:"probe,resume,dead,audit,resync,workers,config,none" doc:"What is most likely to help"`

	urgency int // see urgencies
}

// A Remedy is what a person may do about an Attention.
type Remedy string

// The remedies.
const (
	RemedyProbe   Remedy = "probe"   // try the target now
	RemedyResume  Remedy = "resume"  // let deliveries go on
	RemedyDead    Remedy = "dead"    // look at the dead letters
	RemedyAudit   Remedy = "audit"   // compare with the target
	RemedyResync  Remedy = "resync"  // deliver the current versions again
	RemedyWorkers Remedy = "workers" // look at the workers
	RemedyConfig  Remedy = "config"  // change the configuration
	RemedyNone    Remedy = "none"    // wait
)

// remedyOf returns what helps most likely where something does not move for a reason.
func remedyOf(code why.Code) Remedy {
	switch code {
	case why.CredentialsRefused, why.Misconfigured, why.TargetRefuses, why.CircuitOpen:
		return RemedyProbe
	case why.Paused:
		return RemedyResume
	case why.Conflict, why.MappingFailed, why.Malformed, why.DeadLettered:
		return RemedyDead
	case why.TargetNewer:
		return RemedyAudit
	case why.MappingChanged:
		return RemedyResync
	case why.NoWorker, why.TakeoverFailed, why.NoProgress, why.SecretMissing, why.NotAllowed, why.ReloadFailed:
		return RemedyWorkers
	case why.ConnectorFailed, why.QuotaFull, why.ChannelFull:
		return RemedyConfig
	default:
		return RemedyNone
	}
}

// needsPerson reports whether what does not move for a reason does not mend itself.
func needsPerson(code why.Code) bool {
	switch code.Health() {
	case why.HealthBlocked, why.HealthDead, why.HealthPaused:
		return true
	default:
		return code == why.ChannelFull || code == why.ReloadFailed || code == why.TargetNewer || code == why.MappingChanged
	}
}

// attentionOf lists what there is to say of a channel: why partitions do not move, and which keys
// are not what they should be although they do.
func attentionOf(channel string, c *standing.Channel, urgency map[why.Code]int) []Attention {
	var out []Attention
	told := map[why.Code]bool{}
	for i := range c.Findings {
		f := &c.Findings[i]
		if f.Code == why.Deleted || f.Code == why.Paused && f.Undelivered == 0 {
			continue
		}
		told[f.Code] = true
		s := why.Standing{Sync: why.Waiting, Health: f.Code.Health(), Code: f.Code}.Held(f.Code)
		if f.Undelivered == 0 {
			s.Sync = why.Unknown
		}
		a := Attention{Channel: channel, Health: f.Code.Health(), Sync: s.Sync, Why: f.Code, Text: f.Message, Advice: f.Advice, Since: f.Since, Keys: int64(f.Undelivered)} //nolint:gosec // no number of updates
		if f.Code == why.MappingChanged {
			a.Sync = why.Behind
			if c.Stock != nil {
				a.Keys = c.Stock.Outdated
			}
		}
		out = append(out, a)
	}
	for _, n := range c.Standings {
		if n.Why == "" || n.Why == why.Pending || told[n.Why] || n.Keys <= 0 {
			continue // it is all right, its turn comes, or it was told
		}
		out = append(out, Attention{Channel: channel, Health: n.Health, Sync: n.Sync, Why: n.Why, Text: n.Why.What(), Advice: n.Why.Advice(), Keys: n.Keys})
	}
	for i := range out {
		out[i].urgency = urgency[out[i].Why]
		out[i].Person, out[i].Act = needsPerson(out[i].Why), remedyOf(out[i].Why)
	}
	return out
}

// urgencies has a smaller number for a code that is more urgent.
func urgencies() map[why.Code]int {
	out := map[why.Code]int{}
	for i, code := range why.Codes() {
		out[code] = i
	}
	return out
}

// compareAttention orders what needs a person first, then by urgency, then by how many keys.
func compareAttention(a, b Attention) int {
	switch {
	case a.Person && !b.Person:
		return -1
	case b.Person && !a.Person:
		return 1
	}
	return cmp.Or(cmp.Compare(a.urgency, b.urgency), cmp.Compare(b.Keys, a.Keys), cmp.Compare(a.Channel, b.Channel))
}
