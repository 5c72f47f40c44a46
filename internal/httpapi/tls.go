package httpapi

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// lookAgain is how often the files are looked at.
const lookAgain = time.Second

// A Certificate is read again when its files change. It is safe for concurrent
// use.
type Certificate struct {
	certFile, keyFile string
	logger            zerolog.Logger

	mu     sync.Mutex
	cert   *tls.Certificate
	stamp  [2]time.Time // when the files were changed
	looked time.Time
}

// LoadCertificate reads certificate and key.
func LoadCertificate(certFile, keyFile string, logger zerolog.Logger) (*Certificate, error) {
	c := &Certificate{certFile: certFile, keyFile: keyFile, logger: logger}
	stamp, err := c.stamps()
	if err != nil {
		return nil, err
	}
	return c, c.load(stamp)
}

// Config returns the configuration of a server that shows the certificate.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

func (c *Certificate) stamps() (stamp [2]time.Time, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return stamp, fmt.Errorf("TLS certificate: %w", err)
		}
		stamp[i] = info.ModTime()
	}
	return stamp, nil
}

func (c *Certificate) load(stamp [2]time.Time) error {
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("TLS certificate: %w", err)
	}
	c.cert, c.stamp = &cert, stamp
	return nil
}

// get returns the certificate for a connection. One that cannot be read, as while
// only one of two files is written, leaves the one before in use.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= lookAgain {
		c.looked = now
		stamp, err := c.stamps()
		if err == nil && stamp != c.stamp {
			if err = c.load(stamp); err == nil {
				c.logger.Info().Msg("the TLS certificate was read again")
			}
		}
		if err != nil {
			c.logger.Warn().Err(err).Msg("the new TLS certificate is not used")
		}
	}
	return c.cert, nil
}
