package connnats_test

import (
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connnats"
)

func TestConfigurations(t *testing.T) {
	const bucket = "servers: ['nats://nats.example']\nmode: bucket\nbucket: things\n"
	const service = "servers: ['tls://nats.example:4222']\nmode: service\nsubject: svc.things\n"
	connectortest.Configs(t, connnats.Kind(), map[string][2]string{ // "" if it is good
		"a bucket":             {bucket, ""},
		"a stream":             {"servers: ['nats://[::1]:1']\nmode: stream\nstream: THINGS\nsubject: things.our\ndomain: hub\nadopt: true\n", ""},
		"a service":            {service + "capabilities: {guard: atomic, keeps_digest: true}\nmax_batch: 1\n", ""},
		"a login":              {bucket + "username: u\npassword: ${env:PW}\nkey_prefix: our.\ninbox_prefix: ours.in\n", ""},
		"nothing":              {"", "servers"},
		"no server":            {"servers: []\nmode: bucket\nbucket: things\n", "servers"},
		"another scheme":       {"servers: ['http://nats.example']\nmode: bucket\nbucket: things\n", "nats://"},
		"a password in it":     {"servers: ['nats://u:s3cr3t@nats.example']\nmode: bucket\nbucket: things\n", "user"},
		"a reference in it":    {"servers: ['nats://${env:X}']\nmode: bucket\nbucket: things\n", "secret"},
		"another mode":         {"servers: ['nats://nats.example']\nmode: queue\n", "mode"},
		"no bucket's name":     {"servers: ['nats://nats.example']\nmode: bucket\n", "bucket"},
		"a bucket with a dot":  {"servers: ['nats://nats.example']\nmode: bucket\nbucket: a.b\n", "bucket"},
		"no stream's name":     {"servers: ['nats://nats.example']\nmode: stream\nsubject: things\n", "stream"},
		"a wildcard":           {"servers: ['nats://nats.example']\nmode: service\nsubject: svc.*\n", "subject"},
		"an empty part":        {"servers: ['nats://nats.example']\nmode: service\nsubject: svc..x\n", "subject"},
		"a space":              {bucket + "key_prefix: 'a b'\n", "key_prefix"},
		"two logins":           {bucket + "token: ${env:A}\nnkey: ${env:B}\n", "one of"},
		"a token as it is":     {bucket + "token: s3cr3t\n", "token"},
		"a user alone":         {bucket + "username: u\n", "password"},
		"a service's bucket":   {service + "bucket: things\n", "bucket"},
		"a bucket's batch":     {bucket + "max_batch: 5\n", "max_batch"},
		"a digest of no guard": {service + "capabilities: {guard: none, keeps_digest: true}\n", "keeps_digest"},
		"no network":           {bucket + "allow_cidrs: [10.0.0.1/8]\n", "allow_cidrs"},
		"what is none":         {bucket + "buckets: x\n", "buckets"},
	})
}

func TestGuardFollowsTheMode(t *testing.T) {
	for config, guard := range map[string]connectors.Guard{
		"servers: ['nats://a']\nmode: bucket\nbucket: b\n":                                  connectors.GuardConditional,
		"servers: ['nats://a']\nmode: service\nsubject: s\n":                                connectors.GuardLedger,
		"servers: ['nats://a']\nmode: service\nsubject: s\ncapabilities: {guard: atomic}\n": connectors.GuardAtomic,
	} {
		if got := connnats.Kind().With([]byte(config)).Guard; got != guard {
			t.Errorf("%s: the guard is %s, want %s", config, got, guard)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte("servers: ['nats://a,nats://b', 'tls://%zz']\nmode: bucket\nbucket: x"))
	f.Fuzz(func(_ *testing.T, config []byte) {
		_ = connnats.Kind().Check(config) // it does not panic
	})
}
