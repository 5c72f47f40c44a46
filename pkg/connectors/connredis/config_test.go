package connredis_test

import (
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connredis"
)

func TestConfigurations(t *testing.T) {
	const at = "url: redis://cache.example\n"
	connectortest.Configs(t, connredis.Kind(), map[string][2]string{ // "" if it is good
		"the least":            {at, ""},
		"all of it":            {"url: rediss://cache.example:6380/3\nusername: u\npassword: ${env:PW}\nprefix: ''\nlayout: value\nadopt: true\ntombstone_ttl: 30d\ntls: {server_name: x}\nallow_cidrs: [10.0.0.0/8]\nmax_batch: 1\n", ""},
		"a cluster":            {at + "cluster: true\nnodes: ['b.example:6379', '[::1]:1']\n", ""},
		"nothing":              {"", "url"},
		"another scheme":       {"url: http://cache.example\n", "redis://"},
		"no host":              {"url: redis:///0\n", "redis://"},
		"a password in it":     {"url: redis://:pw@cache.example\n", "user"},
		"a reference in it":    {"url: 'redis://cache.example/${env:X}'\n", "secret"},
		"an option in it":      {"url: redis://cache.example?db=1\n", "query"},
		"no number":            {"url: redis://cache.example/x\n", "database"},
		"a negative number":    {"url: redis://cache.example/-1\n", "database"},
		"port 0":               {"url: redis://cache.example:0\n", "port"},
		"a password as it is":  {at + "password: s3cr3t\n", "password"},
		"a user alone":         {at + "username: u\n", "password"},
		"TLS without rediss":   {at + "tls: {server_name: x}\n", "rediss"},
		"a cluster's database": {"url: redis://cache.example/1\ncluster: true\n", "database 0"},
		"a node without port":  {at + "cluster: true\nnodes: [b.example]\n", "host:port"},
		"nodes of no cluster":  {at + "nodes: ['b.example:6379']\n", "cluster"},
		"another layout":       {at + "layout: json\n", "layout"},
		"too long a prefix":    {at + "prefix: " + strings.Repeat("x", 257) + "\n", "prefix"},
		"no network":           {at + "allow_cidrs: [10.0.0.1/8]\n", "allow_cidrs"},
		"too many at once":     {at + "max_batch: 1001\n", "max_batch"},
		"what is none":         {at + "pasword: x\n", "pasword"},
	})
}

func FuzzConfig(f *testing.F) {
	for _, config := range []string{"url: redis://cache.example:6379/0", "url: rediss://[::1]/1\ncluster: true\nnodes: [':1']", "url: 'redis://%zz'"} {
		f.Add([]byte(config))
	}
	f.Fuzz(func(_ *testing.T, config []byte) {
		_ = connredis.Kind().Check(config) // it does not panic
	})
}
