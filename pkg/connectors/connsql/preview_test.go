package connsql

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

func TestPreview(t *testing.T) {
	u := events.Update{Channel: "erp_db", Key: "k-1", Version: versioning.Must(versioning.Number(7)), Payload: []byte(`{"a":9007199254740993}`)}.WithDefaults()
	a := connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1}
	for dialect, dsn := range map[string]string{
		"postgres": "postgres://me:${env:PASSWORD}@127.0.0.1:1/db", "mysql": "me:${env:PASSWORD}@tcp(127.0.0.1:1)/db", "sqlite": t.TempDir() + "/x.db",
	} {
		for mode, more := range map[string]string{"document": "", "append": "", "table": "columns: [{name: a, type: integer}, {name: b, type: bytes, jq: '\"AP8n\"'}]"} {
			env := connectors.Host{}.Env("erp_db").ForPreview(connectors.Hidden)
			conn, err := Kind().Open(t.Context(), env, []byte("dialect: "+dialect+"\ndsn: '"+dsn+"'\nmode: "+mode+"\n"+more))
			if err != nil {
				t.Fatal(err)
			}
			p, err := conn.(connectors.Previewer).Preview(t.Context(), a)
			if err != nil || !strings.Contains(p.Statement, "INSERT INTO") {
				t.Errorf("%s, %s: %q, %v", dialect, mode, p.Statement, err)
			}
			text, err := json.Marshal(p)
			for _, want := range []string{"k-1", "9007199254740993", u.Digest().String()} {
				if err != nil || !strings.Contains(string(text), want) {
					t.Errorf("%s, %s: %s is missing in %s, %v", dialect, mode, want, text, err)
				}
			}
			bad := a
			bad.Payload = []byte("{")
			if _, err := conn.(connectors.Previewer).Preview(t.Context(), bad); connectors.ClassOf(err) != connectors.Permanent {
				t.Errorf("%s, %s: a bad payload: %v", dialect, mode, err)
			}
			if err := conn.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}
