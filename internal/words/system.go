package words

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

func ofFile(err error) string {
	e, ok := err.(*fs.PathError) //nolint:errorlint // the error itself
	if !ok {
		return ""
	}
	switch {
	case either(e.Err, fs.ErrNotExist):
		return "there is no file " + e.Path
	case either(e.Err, fs.ErrPermission):
		return e.Path + " may not be used by this user"
	case either(e.Err, syscall.EISDIR):
		return e.Path + " is a directory"
	default:
		return e.Path + ": " + of(e.Err)
	}
}

func ofNetwork(err error) string {
	switch e := err.(type) { //nolint:errorlint // the error itself
	case *net.DNSError:
		if e.IsNotFound {
			return "there is no host named " + e.Name
		}
		return "the name " + e.Name + " cannot be looked up just now"
	case *net.AddrError:
		return e.Addr + " is no address: " + e.Err
	case *net.OpError:
		return ofOperation(e)
	}
	return ""
}

func ofOperation(e *net.OpError) string {
	where := "the other side"
	if e.Addr != nil {
		where = e.Addr.String()
	}
	switch {
	case either(e.Err, syscall.ECONNREFUSED):
		return "nothing listens at " + where
	case either(e.Err, syscall.ENETUNREACH, syscall.EHOSTUNREACH):
		return "no way leads to " + where
	case either(e.Err, syscall.EADDRINUSE):
		return where + " is used by another process"
	case either(e.Err, syscall.ECONNRESET, syscall.EPIPE):
		return "the connection was cut"
	case either(e.Err, os.ErrDeadlineExceeded) || e.Timeout():
		return where + " does not answer"
	case e.Op == "remote error": // the package of TLS has no type for the alert
		return "it ended the TLS handshake: " + withoutPackage(e.Err.Error())
	default:
		return of(e.Err)
	}
}

func ofTLS(err error) string {
	switch e := err.(type) { //nolint:errorlint // the error itself
	case *tls.CertificateVerificationError:
		return of(e.Err)
	case tls.RecordHeaderError:
		return "what answers there does not speak TLS"
	case x509.UnknownAuthorityError:
		return "its certificate is signed by an authority that is not trusted here"
	case x509.HostnameError:
		return "its certificate is for " + names(e.Certificate) + ", and not for " + e.Host
	case x509.CertificateInvalidError:
		return ofInvalid(e)
	}
	return ""
}

func ofInvalid(e x509.CertificateInvalidError) string {
	if e.Reason != x509.Expired || e.Cert == nil {
		return "its certificate is not valid: " + withoutPackage(e.Error())
	}
	if now := time.Now(); now.Before(e.Cert.NotBefore) {
		return "its certificate is valid from " + e.Cert.NotBefore.UTC().Format(time.RFC3339) + " on, and this machine's clock says " + now.UTC().Format(time.RFC3339)
	}
	return "its certificate has expired at " + e.Cert.NotAfter.UTC().Format(time.RFC3339)
}

// names returns what a certificate is made out to.
func names(c *x509.Certificate) string {
	list := c.DNSNames
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		return "no host"
	}
	return strings.Join(list, ", ")
}
