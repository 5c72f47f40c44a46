package operate_test

import (
	"strings"
	"testing"

	"github.com/hms-utl/extsync/internal/operate"
	"github.com/hms-utl/extsync/pkg/channels"
)

// Where a target is has no user, no password and no reference to a secret.
func TestTargetText(t *testing.T) {
	for _, c := range []struct {
		kind   string
		config map[string]any
		want   string
	}{
		{"http", map[string]any{"url": "https://target.example/in/{key}?token=${env:SECRET}"}, "https://target.example/in/{key}"},
		{"http", map[string]any{"url": "https://user:secret@target.example"}, "https://target.example"},
		{"http", map[string]any{"url": "https://${env:SECRET}/in"}, "http"},
		{"sql", map[string]any{"dialect": "postgres", "dsn": "postgres://u:${env:SECRET}@erp.example:5432/appointments?sslmode=verify-full"}, "postgres://erp.example:5432/appointments"},
		{"sql", map[string]any{"dialect": "postgres", "dsn": "postgres://u:se@cr/et@erp.example/appointments"}, "postgres://erp.example/appointments"},
		{"sql", map[string]any{"dialect": "postgres", "dsn": "host=erp.example user=u password=secret dbname=d"}, "postgres://erp.example/d"},
		{"sql", map[string]any{"dialect": "mysql", "dsn": "u:se@cret@tcp(erp.example:3306)/d?tls=true"}, "mysql://erp.example:3306/d"},
		{"sql", map[string]any{"dialect": "sqlite", "dsn": "file:/var/lib/x.db?secret=1"}, "/var/lib/x.db"},
		{"s3", map[string]any{"endpoint": "https://s3.example", "bucket": "b", "secret_access_key": "secret"}, "https://s3.example/b"},
		{"sftp", map[string]any{"host": "sftp.example", "port": 2222, "directory": "/in", "password": "secret"}, "sftp.example:2222/in"},
		{"amqp", map[string]any{"host": "mq.example", "password": "secret"}, "mq.example"},
		{"file", map[string]any{"directory": "/var/lib/people"}, "/var/lib/people"},
		{"nats", map[string]any{"servers": []string{"tls://u:secret@nats.example:4222"}, "bucket": "b", "token": "secret"}, "tls://nats.example:4222 b"},
		{"redis", map[string]any{"url": "rediss://cache.example:6379/0", "password": "secret"}, "rediss://cache.example:6379/0"},
		{"odd", map[string]any{"token": "secret"}, ""},
	} {
		got := operate.TargetText(channels.Connector{Kind: c.kind, Config: channels.NewRaw(c.config)})
		if got != c.want && c.want != "" || strings.Contains(strings.ToLower(got), "secret") || strings.Contains(got, "cr/et") {
			t.Errorf("%v: %q, want %q", c.config, got, c.want)
		}
	}
}
