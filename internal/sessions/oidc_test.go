package sessions_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/hms-utl/extsync/internal/sessions"
	"github.com/hms-utl/extsync/internal/testkit"
)

// Whoever waits for a provider that does not answer goes when they like, all wait for one request,
// and what has failed is not asked for again at once.
func TestAProviderThatDoesNotAnswer(t *testing.T) {
	var asked atomic.Int64
	first, answer := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			close(first)
		}
		<-answer
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer http.DefaultClient.CloseIdleConnections()
	defer server.Close()
	keys, err := sessions.NewKeys()
	testkit.Must(t, err)
	p, err := sessions.NewProvider(sessions.OIDC{Issuer: server.URL, ClientID: "x"}, keys)
	testkit.Must(t, err)
	patient := make(chan error, 1)
	go func() {
		_, _, err := p.Start(context.Background(), "/")
		patient <- err
	}()
	<-first
	hasty, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.Start(hasty, "/"); !errors.Is(err, sessions.ErrProvider) || !errors.Is(err, context.Canceled) {
		t.Errorf("who goes: %v", err)
	}
	close(answer)
	if err := <-patient; !errors.Is(err, sessions.ErrProvider) {
		t.Errorf("who waits: %v", err)
	}
	if _, _, err := p.Start(t.Context(), "/"); !errors.Is(err, sessions.ErrProvider) || asked.Load() != 1 {
		t.Errorf("a moment later: %v; it was asked %d times", err, asked.Load())
	}
}
