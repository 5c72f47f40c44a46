package operate

import (
	"strings"
	"testing"
	"time"
)

func TestClocksOfBrokersAreCompared(t *testing.T) {
	const ms = time.Millisecond
	for name, tt := range map[string]struct {
		readings map[string]clockReading
		unread   []string
		level    string
		says     string
	}{
		"single server": {nil, nil, LevelOK, "there is one broker"},
		"one leads all": {map[string]clockReading{"n1": {}}, []string{"n3", "n2"}, LevelOK, "no stream is led by n2, n3"},
		"together":      {map[string]clockReading{"n1": {2 * ms, ms}, "n2": {-3 * ms, ms}}, nil, LevelOK, "2 brokers differ by 5ms, give or take 2ms"},
		"apart":         {map[string]clockReading{"n1": {2 * time.Second, ms}, "n2": {-ms, ms}, "n3": {-time.Second, ms}}, nil, LevelWarning, "3 brokers differ by 3s"},
		"not certain":   {map[string]clockReading{"n1": {3 * time.Second, time.Second}, "n2": {}}, nil, LevelOK, "differ by 3s, give or take 2s"},
		"too far apart": {map[string]clockReading{"n1": {brokerClockLimit, 0}, "n2": {}}, []string{"n3"}, LevelProblem, "differ by 30s"},
	} {
		level, message := judgeClocks(tt.readings, tt.unread)
		if level != tt.level || !strings.Contains(message, tt.says) {
			t.Errorf("%s: %s, %q; want %s, %q", name, level, message, tt.level, tt.says)
		}
	}
}
