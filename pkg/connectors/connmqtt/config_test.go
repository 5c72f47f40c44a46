package connmqtt_test

import (
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
	"github.com/hms-utl/extsync/pkg/connectors/connmqtt"
)

func TestConfigurations(t *testing.T) {
	if lacks := connmqtt.Kind().Fields().Lint(); len(lacks) > 0 {
		t.Error(lacks)
	}
	const base, topic = "host: mq.example\nuser: joe\npassword: ${env:CHANNEL_PASSWORD}\n", "topic: 'people/{key}'\n"
	cases := map[string][2]string{}
	for config, says := range map[string]string{ // "": it is good
		base + topic:                                      "",
		"host: mq.example\n" + topic:                      "",
		base + "topic: 'a/k-{key}/state'":                 "",
		base + topic + "tls: {ca: a}":                     "",
		base + topic + "on_delete: remove\nread_wait: 3s": "",
		base:                                                       "topic",
		base + "topic: people":                                     "topic",
		base + "topic: '{key}/{key}'":                              "topic",
		base + "topic: '+/{key}'":                                  "topic",
		base + "topic: '{key}/#'":                                  "topic",
		base + "topic: '$SYS/{key}'":                               "topic",
		base + "topic: \"a\\0{key}\"":                              "topic",
		base + "topic: \"a\\t{key}\"":                              "topic",
		base + topic + "scheme: http":                              "scheme",
		base + topic + "port: 70000":                               "port",
		base + topic + "max_batch: 1":                              "max_batch",
		base + topic + "read_wait: 1ms":                            "read_wait",
		base + topic + "on_delete: keep":                           "on_delete",
		base + topic + "allow_cidrs: [x]":                          "allow_cidrs",
		base + topic + "scheme: mqtt\ntls: {ca: a}":                "tls",
		base + topic + "tls: {cert: a}":                            "tls",
		base + topic + "queue: x":                                  "queue",
		base + topic + "client_id: \"a\\tb\"":                      "client_id",
		base + "topic: '" + strings.Repeat("x", 200) + "{key}'":    "topic",
		strings.Replace(base, "mq.example", "10.0.0.1", 1) + topic: "host",
		strings.Replace(base, "${env:CHANNEL_PASSWORD}", connectortest.InConfigs, 1) + topic: "password",
		strings.Replace(base, "user: joe", `user: "a\0b"`, 1) + topic:                        "user",
	} {
		cases[strings.NewReplacer("\n", " ", "/", "|").Replace(config)] = [2]string{config, says}
	}
	connectortest.Configs(t, connmqtt.Kind(), cases)
}

func TestWhatADeleteKeeps(t *testing.T) {
	const base = "host: mq.example\ntopic: 'p/{key}'\n"
	for more, keeps := range map[string]bool{"": true, "on_delete: tombstone": true, "on_delete: remove": false} {
		can := connmqtt.Kind().With([]byte(base + more))
		if can.KeepsTombstone != keeps || can.Guard != connectors.GuardLedger {
			t.Errorf("%q: %s", more, can)
		}
	}
}
