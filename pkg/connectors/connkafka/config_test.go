package connkafka_test

import (
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connkafka"
)

func TestConfigurations(t *testing.T) {
	if lacks := connkafka.Kind().Fields().Lint(); len(lacks) > 0 {
		t.Error(lacks)
	}
	const base = "brokers: ['k.example:9093']\ntopic: people\n"
	const login = "mechanism: plain\nuser: joe\n"
	connectortest.Configs(t, connkafka.Kind(), map[string][2]string{
		"least":             {base, ""},
		"login":             {base + login + "password: ${env:P}", ""},
		"certificate":       {base + "tls: {ca: a, cert: b, key: '${env:K}'}", ""},
		"no broker":         {"brokers: []\ntopic: people", "brokers"},
		"no port":           {"brokers: [k.example]\ntopic: people", "brokers"},
		"bad port":          {"brokers: ['k.example:0']\ntopic: people", "brokers"},
		"private address":   {"brokers: ['10.0.0.1:9092']\ntopic: people", "brokers"},
		"no topic":          {"brokers: ['k.example:9093']", "topic"},
		"bad topic":         {"brokers: ['k.example:9093']\ntopic: a b", "topic"},
		"dots":              {"brokers: ['k.example:9093']\ntopic: ..", "topic"},
		"long topic":        {"brokers: ['k.example:9093']\ntopic: " + strings.Repeat("x", 250), "topic"},
		"secret in clear":   {base + login + "password: " + connectortest.InConfigs, "password"},
		"no user":           {base + "mechanism: plain\npassword: ${env:P}", "user"},
		"no password":       {base + login, "password"},
		"user, no login":    {base + "user: joe", "user"},
		"mechanism":         {base + "mechanism: gssapi", "mechanism"},
		"tls in the clear":  {base + "security: plain\ntls: {ca: a}", "tls"},
		"half a pair":       {base + "tls: {cert: a}", "tls"},
		"deletes":           {base + "deletes: gone", "deletes"},
		"id without fence":  {base + "fence: none\ntransactional_id: x", "transactional_id"},
		"small record":      {base + "max_record_bytes: 1", "max_record_bytes"},
		"networks":          {base + "allow_cidrs: [x]", "allow_cidrs"},
		"unknown":           {base + "queue: x", "queue"},
		"batch":             {base + "max_batch: 0", "max_batch"},
		"other compression": {base + "compression: brotli", "compression"},
	})
}
