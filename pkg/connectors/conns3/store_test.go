package conns3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/hms-utl/extsync/internal/faults"
	"github.com/hms-utl/extsync/internal/testkit"
	"github.com/hms-utl/extsync/internal/testkit/front"
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connectortest"
)

const (
	testKeyID  = "key-id-of-the-tests"
	testSecret = "secret-of-the-tests"
	testBucket = "appointments"
)

// built is the server's program, made once for all tests of the process.
var built = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // tests know nothing of each other
	program := filepath.Join(buildDir, "versitygw")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", program, ".")
	build.Dir, build.Env = "../../../test/servers/versitygw", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return program, nil
})

var buildDir string //nolint:gochecknoglobals // set before the first test

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "conns3"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(buildDir)
	os.Exit(code)
}

// A store is a real server with one bucket, and what stands before it.
type store struct {
	address string // of the server itself
	run     func() *faults.Process
	process *faults.Process
	front   *front.Front
	direct  *http.Transport // which keeps no connection, so that only the connector's are left
}

// startStore starts a server of the test's own.
func startStore(t testing.TB, extra ...string) *store {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &store{address: l.Addr().String(), direct: &http.Transport{DisableKeepAlives: true}}
	_ = l.Close() // for the server
	crew, dir := faults.NewCrew(t), t.TempDir()
	s.run = func() *faults.Process {
		p := crew.Start(t, faults.Spec{Name: "versitygw", Path: program, Args: append([]string{s.address, dir, testKeyID, testSecret}, extra...)})
		testkit.Eventually(t, "versitygw answers", func() bool {
			conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", s.address)
			if err == nil {
				_ = conn.Close()
			}
			return err == nil
		})
		return p
	}
	s.process = s.run()
	if len(extra) == 0 {
		s.front = front.New(t, s.address)
		testkit.Must(t, os.Mkdir(filepath.Join(dir, testBucket), 0o700))
		if a := s.ask(t, http.MethodHead, "/"+testBucket, nil, ""); a.status != http.StatusOK {
			t.Fatalf("the bucket: %+v", a)
		}
	}
	return s
}

// An answer is what a server said; the zero answer is that of one that is not there.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask makes a request to the server itself.
func (s *store) ask(t testing.TB, method, path string, header http.Header, body string) answer {
	t.Helper()
	a, err := signed(context.Background(), s.direct, method, "http://"+s.address+path, header, []byte(body))
	if err != nil {
		return answer{}
	}
	return a
}

// put writes an object as somebody else would.
func (s *store) put(t testing.TB, path string, header http.Header, body string) {
	t.Helper()
	if a := s.ask(t, http.MethodPut, path, header, body); a.status != http.StatusOK {
		t.Fatalf("cannot write %s: %+v", path, a)
	}
}

// signed is the smallest client.
func signed(ctx context.Context, by http.RoundTripper, method, to string, header http.Header, body []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if header != nil {
		req.Header = header
	}
	sum := sha256.Sum256(body)
	req.Header.Set(headerSum, hex.EncodeToString(sum[:]))
	credentials := aws.Credentials{AccessKeyID: testKeyID, SecretAccessKey: testSecret}
	if err := testSigner.SignHTTP(ctx, credentials, req, req.Header.Get(headerSum), "s3", "us-east-1", time.Now()); err != nil {
		return answer{}, err
	}
	got, err := by.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = got.Body.Close() }() // only read from
	read, err := io.ReadAll(got.Body)
	return answer{got.StatusCode, got.Header, string(read)}, err
}

var testSigner = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) //nolint:gochecknoglobals // it keeps the keys that it derives

func objectPath(t testing.TB, key string) string {
	t.Helper()
	return "/" + testBucket + "/" + connectortest.Channel + "/" + strings.ReplaceAll(testkit.EncodeKey(t, key), "=", "%3D") + ".json"
}

// read asks the server itself what it holds.
func (s *store) read(t *testing.T, keys ...string) map[string]connectors.Held {
	t.Helper()
	out := map[string]connectors.Held{}
	for _, key := range keys {
		if a := s.ask(t, http.MethodHead, objectPath(t, key), nil, ""); a.status == http.StatusOK {
			out[key] = stateOf(a.header).Held
		}
	}
	return out
}

// config is a configuration for what stands before the server.
func (s *store) config(more string) string {
	return configFor("http://"+s.front.Addr, more)
}

func configFor(endpoint, more string) string {
	return "endpoint: " + endpoint + "\nbucket: " + testBucket + "\nsuffix: .json\nallow_cidrs: [127.0.0.0/8]\n" +
		"access_key_id: ${env:KEY}\nsecret_access_key: ${env:SECRET}\n" + more
}

func open1(t testing.TB, config string) *connectors.Opened {
	t.Helper()
	env := connectortest.Env(map[string]string{"KEY": testKeyID, "SECRET": testSecret})
	env.Concurrency = inFlight
	c, err := connectors.Open(t.Context(), Kind(), env, []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// opened opens a connector that is closed with the test.
func opened(t testing.TB, config string) *connectors.Opened {
	t.Helper()
	c := open1(t, config)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func writeFile(t testing.TB, dir, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	testkit.Must(t, os.WriteFile(path, content, 0o600))
	return path
}
