package httpapi_test

import (
	"net/http"
	"testing"
)

func TestCursorsOfJobs(t *testing.T) {
	r := newRig(t).serve()
	r.call(http.StatusUnprocessableEntity, http.MethodGet, "/v1/jobs?cursor=x", "")
	r.call(http.StatusOK, http.MethodGet, "/v1/jobs?cursor=019a2b3c-4d5e-7f60-8192-a3b4c5d6e7f8", "")
}

// Whoever leaves out the last slash comes to the console, also behind a path of a proxy.
func TestConsoleWithoutASlash(t *testing.T) {
	r := newRig(t).serve()
	resp, err := http.DefaultTransport.RoundTrip(r.request(http.MethodGet, "/console?x=1", ""))
	r.must(err)
	r.must(resp.Body.Close())
	if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusTemporaryRedirect || to != "console/?x=1" {
		t.Errorf("%s to %q", resp.Status, to)
	}
}
