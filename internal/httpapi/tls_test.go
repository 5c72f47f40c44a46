package httpapi

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/hms-utl/extsync/internal/testcert"
	"github.com/hms-utl/extsync/internal/testkit"
)

// writeCertificate writes one with a serial number.
func writeCertificate(t *testing.T, dir string, serial int64, changed time.Time) (certFile, keyFile string) {
	t.Helper()
	ca, err := testcert.New()
	testkit.Must(t, err)
	cert, key, err := ca.Issue(testcert.Leaf{Serial: serial})
	testkit.Must(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, data := range map[string][]byte{certFile: cert, keyFile: key} {
		testkit.Must(t, os.WriteFile(name, data, 0o600))
		testkit.Must(t, os.Chtimes(name, changed, changed))
	}
	return certFile, keyFile
}

func TestCertificateIsReadAgain(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	cert, key := writeCertificate(t, dir, 1, now)
	c, err := LoadCertificate(cert, key, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		t.Helper()
		c.looked = time.Time{} // a second has passed
		got, err := c.Config().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("serial number %d", got)
	}
	writeCertificate(t, dir, 2, now.Add(time.Minute))
	if got := serial(); got != 2 {
		t.Errorf("after a change: serial number %d", got)
	}
	if err := os.WriteFile(key, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(); got != 2 {
		t.Errorf("with a broken key: serial number %d", got)
	}
}
