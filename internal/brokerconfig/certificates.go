package brokerconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// ServerDir is the directory of what the server needs; each role has one of its
// name, so that no process needs to see the secrets of another.
const ServerDir = "server"

// The files of each of these directories.
const (
	CAFile   = "ca.crt"
	CertFile = "tls.crt"
	KeyFile  = "tls.key"
)

// certificateLife is long enough to try things out, and short enough that nobody
// forgets that these come from no authority of their own.
const certificateLife = 365 * 24 * time.Hour

// Certificates makes an authority whose key it forgets, a certificate of it for
// servers at the given hosts, and one for each of some roles. When dir has those of a
// server, nothing is made, and made is false. They are for trying out; in
// production take those of your own authority.
func Certificates(dir string, hosts []string, roles []Role) (made bool, err error) {
	last := filepath.Join(dir, ServerDir, CAFile) // it says that all others are there
	if _, err := os.Stat(last); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	a, err := newAuthority()
	if err != nil {
		return false, fmt.Errorf("certificates: %w", err)
	}
	for _, r := range roles {
		client := certificate("extsync " + string(r))
		client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if err := a.issue(client, filepath.Join(dir, string(r))); err != nil {
			return false, fmt.Errorf("certificate of the %s: %w", r, err)
		}
	}
	server := certificate("extsync broker")
	// Servers of a cluster are each other's clients.
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, h)
		}
	}
	if err := a.issue(server, filepath.Join(dir, ServerDir)); err != nil {
		return false, fmt.Errorf("certificate of the server: %w", err)
	}
	return true, nil
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	der  []byte
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert := certificate("extsync authority for trying out")
	cert.IsCA, cert.BasicConstraintsValid, cert.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	return &authority{cert: cert, key: key, der: der}, err
}

// issue writes a signed certificate, its key and the authority into a directory.
func (a *authority) issue(cert *x509.Certificate, dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return errors.Join(
		writePEM(filepath.Join(dir, CertFile), "CERTIFICATE", der),
		writePEM(filepath.Join(dir, KeyFile), "PRIVATE KEY", keyDER),
		writePEM(filepath.Join(dir, CAFile), "CERTIFICATE", a.der))
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func certificate(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		serial = big.NewInt(time.Now().UnixNano()) // crypto/rand never fails
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(certificateLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}
