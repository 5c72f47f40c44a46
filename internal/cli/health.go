package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// errUnhealthy says that a process answered that something is wrong with it, or
// did not answer.
var errUnhealthy = errors.New("not healthy")

const (
	healthTimeout = 3 * time.Second
	healthAnswer  = 4 << 10 // what is shown of an answer, in bytes
)

// HealthCommand returns the command that asks a process how it is, for
// containers without a shell.
func HealthCommand(sh *Shell) *cobra.Command {
	return &cobra.Command{
		Use:     "health URL",
		Short:   "Ask a process for its health, by exit code",
		Long:    "Get a health page of a process, and end with 0 if it answers 200 OK. It is for\ncontainers, which have no other program to ask with.",
		Example: "  extsync health http://127.0.0.1:9464/readyz",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			answer, err := askHealth(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(sh.Out, clean(answer))
			return err
		},
	}
}

func askHealth(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil || req.URL.Host == "" {
		return "", fmt.Errorf("%w: %q is no URL", errUsage, url)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errUnhealthy, err)
	}
	defer func() { _ = resp.Body.Close() }() // all that is wanted was read
	body, err := io.ReadAll(io.LimitReader(resp.Body, healthAnswer))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errUnhealthy, err)
	}
	text := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%w: %s: %s", errUnhealthy, resp.Status, text)
	}
	return text, nil
}
