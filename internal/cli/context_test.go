package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// TestContextCommands walks through what a person does with contexts. No password is shown.
func TestContextCommands(t *testing.T) {
	home := t.TempDir()
	run := func(line string) (code int, out, err string) {
		var stdout, stderr bytes.Buffer
		sh := &Shell{Out: &stdout, Err: &stderr, Environ: []string{"HOME=" + home}}
		root := Group("extsync", "", ContextCommand(sh), StatusCommand(sh))
		sh.AddJSON(root)
		sh.AddContexts(root)
		code = sh.Run(context.Background(), root, strings.Fields(line))
		return code, stdout.String(), stderr.String()
	}
	for _, step := range []struct {
		line string
		code int
		says string
	}{
		{"context list", ExitOK, "there are no contexts"},
		{"context show", ExitUsage, "none is in use"},
		{"context add prod --nats-url nats://u:s3cr3t@127.0.0.1:1 --prefix acme", ExitOK, "prod: kept, in use (nats://127.0.0.1:1, prefix acme)"},
		{"context add prod", ExitUsage, "--replace writes it anew"},
		{"context add two --nats-creds-file x.creds", ExitOK, "two: kept (nats://127.0.0.1:4222, prefix sync)"},
		{"context add two --nats-url :// --replace", ExitUsage, "nats.url"},
		{"context list", ExitOK, "\ntwo      -       nats://127.0.0.1:4222  sync    /"},
		{"context show prod --json", ExitOK, `"broker": "nats://127.0.0.1:1"`},
		{"status", ExitBroker, "nats://127.0.0.1:1"},
		{"context use two", ExitOK, "two: chosen, in use"},
		{"status --context prod", ExitBroker, "nats://127.0.0.1:1"},
		{"status --context nope", ExitUsage, "no such context: nope; there are prod, two"},
		{"context use", ExitUsage, "which context?"},
		{"context use --none", ExitOK, "no context is in use"},
		{"context remove two", ExitOK, "two: forgotten"},
		{"context remove two", ExitUsage, "there are prod"},
	} {
		code, out, err := run(step.line)
		if code != step.code || !strings.Contains(out+err, step.says) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s%s", step.line, code, step.code, step.says, out, err)
		}
		if strings.Contains(out+err, "s3cr3t") {
			t.Errorf("%s shows a password", step.line)
		}
	}
}
