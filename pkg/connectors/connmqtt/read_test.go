package connmqtt_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/eclipse/paho.golang/paho"

	"github.com/hms-utl/extsync/internal/testdb"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// What somebody else has done to the messages is found.
func TestCompare(t *testing.T) {
	s := testdb.StartMosquitto(t)
	c := connect(t, secrets(s), config(s.Addr(), s.User, "read_wait: 300ms\n"))
	admin, err := subscribe(t.Context(), s, "", func(*paho.Publish) {})
	testkit.Must(t, err)
	defer admin.Disconnect(&paho.Disconnect{}) //nolint:errcheck // it is used no more
	set := func(key, payload string, m *paho.Publish) {
		p := &paho.Publish{Topic: "p/" + key, QoS: 1, Retain: true, Payload: []byte(payload)}
		if m != nil {
			p.Properties = m.Properties
		}
		_, err := admin.Publish(t.Context(), p)
		testkit.Must(t, err)
	}
	for key, test := range map[string]struct {
		alter func(key string, m *paho.Publish)
		held  bool
		names []string
	}{
		"same":    {func(string, *paho.Publish) {}, true, nil},
		"content": {func(key string, m *paho.Publish) { set(key, `{"x":1}`, m) }, true, []string{"content"}},
		"type": {func(key string, m *paho.Publish) {
			m.Properties.ContentType = "text/plain"
			set(key, string(m.Payload), m)
		}, true, []string{"content-type"}},
		"removed": {func(key string, _ *paho.Publish) { set(key, "", nil) }, false, nil},
		"foreign": {func(key string, _ *paho.Publish) { set(key, "on", nil) }, false, nil},
	} {
		t.Run(key, func(t *testing.T) {
			a := attempt(key, 3, `{"n":3}`)
			want(t, apply(t, c, a)[0], connectors.OK, "")
			test.alter(key, retained(t, s, key))
			got, err := c.Compare(t.Context(), []connectors.Attempt{a})
			testkit.Must(t, err)
			if there := got[0].Version == a.Version && got[0].Op == events.Upsert; there != test.held || !slices.Equal(got[0].Changed, test.names) {
				t.Errorf("%+v", got[0])
			}
		})
	}
	t.Run("deletes", func(t *testing.T) {
		gone, foreign := attempt("gone", 3, ""), attempt("foreign", 3, "")
		want(t, apply(t, c, gone)[0], connectors.OK, "")
		got, err := c.Compare(t.Context(), []connectors.Attempt{gone, foreign, attempt("never", 1, "")})
		testkit.Must(t, err)
		if got[0].Op != events.Delete || got[0].Changed != nil || !slices.Equal(got[1].Changed, []string{"content"}) || !got[2].IsZero() || got[2].Changed != nil {
			t.Errorf("%+v", got)
		}
	})
}

// More keys than are subscribed to at once, some of them twice and some missing.
func TestReadsManyKeys(t *testing.T) {
	s := testdb.StartMosquitto(t)
	c := connect(t, secrets(s), config(s.Addr(), s.User, "read_wait: 500ms\nmax_batch: 1000\n"))
	var batch []connectors.Attempt
	var keys []string
	for i := range 230 {
		batch = append(batch, attempt(fmt.Sprintf("k/%d", i), int64(i)+1, "{}"))
		keys = append(keys, batch[i].Key)
	}
	for _, res := range apply(t, c, batch...) {
		want(t, res, connectors.OK, "")
	}
	keys = append(keys, "missing", "k/7")
	held, err := c.Read(t.Context(), keys)
	testkit.Must(t, err)
	for i := range 230 {
		if held[i].Version != batch[i].Version || held[i].Digest != batch[i].Digest {
			t.Errorf("%s is held as %+v", keys[i], held[i])
		}
	}
	if !held[230].IsZero() || held[231].Version != testkit.Number(8) {
		t.Errorf("%+v", held[230:])
	}
}
