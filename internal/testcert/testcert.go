// Package testcert makes certificates for tests.
package testcert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"time"
)

// An Authority issues certificates.
type Authority struct {
	Cert *x509.Certificate
	PEM  []byte // of Cert
	key  *ecdsa.PrivateKey
}

// A Leaf says what is in a certificate. The zero value is one for 127.0.0.1 and
// localhost that ends in an hour.
type Leaf struct {
	Serial int64         // defaults to 2: that of the authority is 1
	For    time.Duration // until it ends; negative: it has ended
	IP     string        // defaults to 127.0.0.1
	Names  []string      // defaults to localhost
}

// New returns an authority whose certificate ends in a day.
func New() (*Authority, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &Authority{Cert: cert, PEM: encode("CERTIFICATE", der), key: key}, err
}

// Issue returns a certificate for servers and clients, and its key, in PEM.
func (a *Authority) Issue(l Leaf) (cert, key []byte, err error) {
	if l.Serial == 0 {
		l.Serial = 2
	}
	if l.For == 0 {
		l.For = time.Hour
	}
	if l.IP == "" {
		l.IP = "127.0.0.1"
	}
	if l.Names == nil {
		l.Names = []string{"localhost"}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(l.Serial), Subject: pkix.Name{CommonName: "test"}, DNSNames: l.Names, IPAddresses: []net.IP{net.ParseIP(l.IP)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(l.For), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err1 := x509.CreateCertificate(rand.Reader, template, a.Cert, private.Public(), a.key)
	keyDER, err2 := x509.MarshalPKCS8PrivateKey(private)
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER), errors.Join(err1, err2)
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
