package testdb

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/hms-utl/extsync/internal/testcert"
)

// Files of a server's directory.
const (
	caName   = "ca.crt"
	certName = "server.crt"
	keyName  = "server.key"
)

// writeCertificates makes an authority and a certificate of it for localhost and
// 127.0.0.1.
func writeCertificates(dir string) error {
	ca, err := testcert.New()
	if err != nil {
		return err
	}
	cert, key, err := ca.Issue(testcert.Leaf{})
	if err != nil {
		return err
	}
	write := func(name string, data []byte) error { return os.WriteFile(filepath.Join(dir, name), data, 0o600) }
	return errors.Join(write(caName, ca.PEM), write(certName, cert), write(keyName, key))
}
