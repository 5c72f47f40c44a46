package workers

import (
	"slices"
	"testing"
	"time"
)

func TestWhoIsAlive(t *testing.T) {
	now := time.Date(2026, 11, 28, 3, 0, 0, 0, time.UTC)
	const ttl = 4 * time.Second
	beat := func(name string, sequence uint64, ago, ttl time.Duration) Beat {
		return Beat{Record: Record{Worker: name, TTL: ttl.Milliseconds()}, sequence: sequence, At: now.Add(-ago)}
	}
	left := func(name string, sequence uint64, ago time.Duration) Beat {
		b := beat(name, sequence, ago, ttl)
		b.Left = true
		return b
	}
	bad := func(name string, sequence uint64) Beat {
		b := beat(name, sequence, 0, 0)
		b.Bad = ErrRecord
		return b
	}
	me := beat("me", 9, 0, ttl)
	for name, tt := range map[string]struct {
		beats []Beat
		want  []string
	}{
		"nobody":                       {nil, nil},
		"alone":                        {[]Beat{me}, []string{"me"}},
		"both":                         {[]Beat{me, beat("a", 8, time.Second, ttl)}, []string{"a", "me"}},
		"silent for a lease":           {[]Beat{me, beat("a", 8, ttl, ttl)}, []string{"me"}},
		"nearly":                       {[]Beat{me, beat("a", 8, ttl-1, ttl)}, []string{"a", "me"}},
		"with longer leases":           {[]Beat{me, beat("a", 8, ttl, 2*ttl)}, []string{"a", "me"}},
		"left":                         {[]Beat{me, left("a", 8, 0)}, []string{"me"}},
		"no announcement":              {[]Beat{me, bad("a", 8)}, []string{"me"}},
		"back from the dead":           {[]Beat{me, beat("a", 1, time.Hour, ttl)}, []string{"me"}},
		"only the dead":                {[]Beat{beat("a", 1, time.Hour, ttl), beat("b", 2, time.Minute, ttl)}, nil},
		"from before the clock jumped": {[]Beat{me, beat("a", 8, -time.Hour, ttl)}, []string{"me"}},
		"measured by one that left":    {[]Beat{beat("a", 8, 10*time.Second, ttl), left("b", 9, 0)}, nil},
		"a broker that was away":       {[]Beat{beat("a", 8, 2*ttl, ttl), beat("b", 9, 2*ttl-time.Second, ttl)}, []string{"a", "b"}},
	} {
		var got []string
		for _, b := range judge(tt.beats, now).Beats {
			if b.Alive {
				got = append(got, b.Worker)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v are alive, want %v", name, got, tt.want)
		}
	}
}
