// Package connkit is what connectors of every kind need besides the contract: one shape
// of TLS settings, references that are resolved together, and the diagnosis of networks
// and certificates. Secrets, connections and paths come from connectors.Env.
package connkit

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// TLS is how a connector secures its connections. CA, Cert and Key are PEM texts, or
// references to them as ${file:/path}. The zero TLS trusts the system's authorities and
// shows no certificate.
type TLS struct {
	CA   connectors.Ref `yaml:"ca" json:"ca,omitempty" format:"pem" example:"${file:/run/extsync/secrets/ca.pem}" doc:"These authorities are trusted in place of the system's: a PEM text, or a reference to one. Without it a certificate of one's own authority is refused."`
	Cert connectors.Ref `yaml:"cert" json:"cert,omitempty" format:"pem" example:"${file:/run/extsync/secrets/client.pem}" doc:"This certificate, with its chain, is shown to targets that ask for one. It needs key. A target refuses it once it has expired, and the channel is blocked."`
	Key  connectors.Ref `yaml:"key" json:"key,omitempty" format:"pem" reference:"true" example:"${file:/run/extsync/secrets/client.key}" doc:"The private key of cert, as a reference to a secret."`
	// ServerName is what the certificate is for, if not the host that is connected to.
	ServerName string `yaml:"server_name" json:"server_name,omitempty" format:"host" example:"target.internal" advanced:"true" doc:"The target's certificate is for this name, where it is not the host that is connected to. With a wrong one no connection is made."`
	// InsecureSkipVerify takes any certificate, and with it anybody for the target.
	InsecureSkipVerify bool `yaml:"insecure_skip_verify" json:"insecure_skip_verify,omitempty" advanced:"true" doc:"Takes any certificate, and with it anybody for the target: everybody on the way can read and change the updates. Give ca in its place."`
}

// Check adds what is wrong with the settings and what no tag says.
func (t TLS) Check(p *connectors.Problems) {
	if (t.Cert == "") != (t.Key == "") {
		p.Add("tls", "cert and key go together")
	}
	if t.InsecureSkipVerify && (t.CA != "" || t.ServerName != "") {
		p.Add("tls.insecure_skip_verify", "nothing is verified then: leave out ca and server_name")
	}
}

// Config returns what the settings come to. What fails is noted in s; the errors of
// anything else than references do not repeat the texts.
func (t TLS) Config(s *Secrets) (*tls.Config, error) {
	ca, cert, key := s.Text("tls.ca", t.CA), s.Text("tls.cert", t.Cert), s.Text("tls.key", t.Key)
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify}
	if s.Err() != nil || s.env.Previews() {
		return c, nil
	}
	if ca != "" {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(ca)) {
			return nil, errors.New("tls.ca: there is no PEM certificate in it")
		}
	}
	if cert != "" {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			return nil, errors.New("tls.cert, tls.key: they are not a PEM certificate and its private key")
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
