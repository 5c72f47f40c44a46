package connectors

import "context"

// A Previewer can show what Apply would send for an attempt. It sends nothing
// and needs no target to be there.
type Previewer interface {
	Preview(ctx context.Context, a Attempt) (Preview, error)
}

// A Preview is one request as it would be made, or one statement with its
// parameters. Secrets are shown as "***".
type Preview struct {
	Method  string            `json:"method,omitempty"`
	URL     string            `json:"url,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	// Body is what would be sent, whatever it is.
	Body []byte `json:"-"`

	Statement  string `json:"statement,omitempty"`
	Parameters []any  `json:"parameters,omitempty"` // that JSON can write
}
