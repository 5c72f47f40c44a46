package connamqp_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connamqp"
)

func TestConfigurations(t *testing.T) {
	if lacks := connamqp.Kind().Fields().Lint(); len(lacks) > 0 {
		t.Error(lacks)
	}
	const base = "host: mq.example\nuser: joe\npassword: ${env:CHANNEL_PASSWORD}\n"
	for config, says := range map[string]string{ // "": it is good
		base + "routing_key: people":                                 "",
		base + "exchange: people":                                    "",
		base + "exchange: people\nrouting_key: p.\nappend_key: true": "",
		base + "routing_key: people\ndeclare: quorum\ntls: {ca: a}":  "",
		base: "routing_key",
		base + "routing_key: people\nappend_key: true":                                      "append_key",
		base + "exchange: people\ndeclare: quorum":                                          "declare",
		base + "exchange: people\ndeclare: stream":                                          "declare",
		base + "exchange: people\nscheme: http":                                             "scheme",
		base + "exchange: people\nport: 70000":                                              "port",
		base + "exchange: people\nmax_batch: 1":                                             "max_batch",
		base + "exchange: people\nallow_cidrs: [x]":                                         "allow_cidrs",
		base + "exchange: people\nscheme: amqp\ntls: {ca: a}":                               "tls",
		base + "exchange: people\ntls: {cert: a}":                                           "tls",
		base + "exchange: people\nrouting_key: " + strings.Repeat("x", 121):                 "routing_key",
		base + "exchange: people\nqueue: x":                                                 "queue",
		strings.Replace(base, "mq.example", "10.0.0.1", 1) + "exchange: people":             "host",
		strings.Replace(base, "${env:CHANNEL_PASSWORD}", "hunter2", 1) + "exchange: people": "password",
		strings.Replace(base, "user: joe", `user: "a\0b"`, 1) + "exchange: people":          "user",
		strings.Replace(base, "password", "no_password", 1) + "exchange: people":            "password",
	} {
		err := connamqp.Kind().Check([]byte(config))
		if says == "" && err != nil || says != "" && (!errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s\n%v; want an error that says %q", config, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %v", err)
		}
	}
}
