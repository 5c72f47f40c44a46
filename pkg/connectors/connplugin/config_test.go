package connplugin_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connplugin"
)

func TestConfig(t *testing.T) {
	for config, says := range map[string]string{
		"{command: [/bin/x]}": "",
		"{command: [/bin/x, -v], max_batch: 1, kill_after: 1m, config: {a: {b: ['${env:X}', 1, true, null]}}}": "",
		"{via: http, url: 'https://plugin.example/x', headers: {X-Token: '${env:X}'}}":                         "",
		"{via: http, url: 'unix:/run/mine.sock'}":                                                              "",
		"{command: [/bin/x], capabilities: {guard: by format, reads: true}}":                                   "",
		"":                                                                     "command: it is missing",
		"{via: grpc, command: [/bin/x]}":                                       "via: \"grpc\"",
		"{command: [x]}":                                                       "absolute",
		"{command: [/bin/x, '${env:SECRET}']}":                                 "no secret can be an argument",
		"{command: [/bin/x], url: 'http://x/'}":                                "url: it means nothing unless via is http",
		"{command: [/bin/x], headers: {a: b}}":                                 "headers: it means nothing unless via is http",
		"{command: [/bin/x], max_batch: 0}":                                    "max_batch",
		"{command: [/bin/x], max_batch: 1001}":                                 "max_batch",
		"{command: [/bin/x], kill_after: 1ms}":                                 "kill_after",
		"{command: [/bin/x], nothing: 1}":                                      "nothing",
		"{command: [/bin/x], config: {1: 2}}":                                  "",
		"{command: [/bin/x], config: {a: .nan}}":                               "config.a: \".nan\" is not a number that JSON can write",
		"{command: [/bin/x], capabilities: {guard: strong}}":                   "capabilities.guard",
		"{command: [/bin/x], capabilities: {guard: none, keeps_digest: true}}": "capabilities.keeps_digest",
		"{via: http}":                                                          "url:",
		"{via: http, url: 'http://x/', command: [/bin/x]}":                     "command: it means nothing unless via is exec",
		"{via: http, url: 'http://u:p@x/'}":                                    "password",
		"{via: http, url: 'http://x/${env:SECRET}'}":                           "secret",
		"{via: http, url: 'unix:mine.sock'}":                                   "absolute",
		"{via: http, url: 'ftp://x/'}":                                         "http://host/path",
		"{via: http, url: 'http://x/', headers: {'a b': c}}":                   "headers",
		"{via: http, url: 'http://x/', headers: {content-type: c}}":            "headers.content-type",
		"{via: http, url: 'http://x/', allow_cidrs: [x]}":                      "allow_cidrs",
		"{via: http, url: 'http://x/', tls: {cert: '${file:/a}'}}":             "tls",
		"{via: http, url: 'http://x/', headers: {'${env:SECRET}': 'a'}}":       "headers",
		"{via: http, url: 'http://x/', headers: {Authorization: plain}}":       "headers.Authorization: it must refer to a secret",
		`{via: http, url: "http://x/", headers: {X: "a\nb"}}`:                  "headers.X: its value has a control character",
		"{command: []}":                                                        "command: it is empty",
		"{command: [/bin/x], config: {pw: '${env:}'}}":                         "config.pw: it begins a reference",
		"{command: [/bin/x], config: {a: [1, {pw: '${ENV:X}'}]}}":              "config.a[1].pw: it begins a reference",
		"{via: http, url: 'http://x/', headers: {X: '${file:/a'}}":             "headers.X: it begins a reference",
	} {
		_, err := connplugin.Decode([]byte(config))
		if says == "" && err != nil || says != "" && (!errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v; want it to say %q", config, err, says)
		}
	}
}

// What a channel's connector can do is what its configuration says, without a start.
func TestCapabilitiesAreThoseOfTheConfiguration(t *testing.T) {
	for config, want := range map[string]connectors.Capabilities{
		"{command: [/bin/x]}":               {Guard: connectors.GuardLedger, Batches: true},
		"{command: [/bin/x], max_batch: 1}": {Guard: connectors.GuardLedger},
		"{command: [/bin/x], capabilities: {guard: atomic, keeps_digest: true, keeps_tombstone: true, probes: true, reads: true, lists: true, remembers: true}}": connplugin.Kind().Capabilities,
		"nonsense": {Guard: connectors.GuardNone},
	} {
		if got := connplugin.Kind().With([]byte(config)); got != want {
			t.Errorf("%s: %+v", config, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("{command: [/bin/x], config: {a: [1, {b: '${env:X}'}]}}"))
	f.Add([]byte("{via: http, url: 'unix:/run/x', headers: {A: b}}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := connplugin.Decode(data)
		if err != nil && !errors.Is(err, connectors.ErrConfig) {
			t.Errorf("%v is not for a configuration", err)
		}
		if err == nil && (c.MaxBatch < 1 || c.Via == "exec" && len(c.Command) == 0) {
			t.Errorf("%+v is accepted", c)
		}
	})
}
