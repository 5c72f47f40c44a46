package why

import "slices"

// A Count is a number of keys that stand alike.
type Count struct {
	Sync   Sync   `json:"sync"`
	Health Health `json:"health"`
	Why    Code   `json:"why,omitempty"`
	Keys   int64  `json:"keys"`
}

// Standing returns how the keys stand.
func (c Count) Standing() Standing { return Standing{c.Sync, c.Health, c.Why} }

// Counts say how many keys stand how, each standing once. The zero Counts count nothing.
type Counts []Count

// Add adds n keys, or takes -n away. The zero Standing is that of no key, and not counted.
func (c *Counts) Add(s Standing, n int64) {
	if s == (Standing{}) || n == 0 {
		return
	}
	for i := range *c {
		if (*c)[i].Standing() == s {
			(*c)[i].Keys += n
			return
		}
	}
	*c = append(*c, Count{s.Sync, s.Health, s.Code, n})
}

// AddAll adds what others count.
func (c *Counts) AddAll(others Counts) {
	for _, o := range others {
		c.Add(o.Standing(), o.Keys)
	}
}

// Wait counts n more updates that nobody has looked at. Their keys wait, held back by a code
// if it is not "", and so many fewer are in sync: which of them were cannot be told without
// reading each. So no key is called in sync wrongly.
func (c *Counts) Wait(n int64, by Code) {
	c.Add(Standing{Waiting, HealthOK, Pending}.Held(by), n)
	c.Unread(n)
}

// Unread says that n of the keys, whichever they are, have been counted as something else.
func (c *Counts) Unread(n int64) {
	inSync := Standing{InSync, HealthOK, ""}
	c.Add(inSync, -min(n, c.Of(inSync)))
}

// Of returns how many keys stand so.
func (c Counts) Of(s Standing) int64 {
	for i := range c {
		if c[i].Standing() == s {
			return c[i].Keys
		}
	}
	return 0
}

// Sorted returns the counts of at least one key, those with the most urgent code first.
func (c Counts) Sorted() Counts {
	out := slices.DeleteFunc(slices.Clone(c), func(one Count) bool { return one.Keys <= 0 })
	slices.SortFunc(out, func(a, b Count) int { return a.Standing().Compare(b.Standing()) })
	return out
}

// Health returns the health of a channel with these keys: the worst of those that were not given
// up; HealthOK if there are none. A channel that delivers is well, however many dead letters it
// has. Dead tells their number.
func (c Counts) Health() Health {
	worst := HealthOK
	for i := range c {
		if c[i].Keys > 0 && c[i].Health != HealthDead {
			worst = Worse(worst, c[i].Health)
		}
	}
	return worst
}

// Dead returns how many keys were given up at their newest version.
func (c Counts) Dead() int64 {
	dead := int64(0)
	for i := range c {
		if c[i].Health == HealthDead {
			dead += c[i].Keys
		}
	}
	return dead
}

// BySync adds up the keys by what the target holds of them.
func (c Counts) BySync() map[Sync]int64 {
	out := map[Sync]int64{}
	for i := range c {
		if c[i].Keys != 0 {
			out[c[i].Sync] += c[i].Keys
		}
	}
	return out
}
