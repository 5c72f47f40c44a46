package conns3

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// Values of Config.Content and Config.Addressing.
const (
	jsonContent  = "json"
	bytesContent = "bytes"
	pathStyle    = "path"
	hostStyle    = "host"
)

// Config is the configuration of an s3 connector.
type Config struct {
	// Endpoint is the address of the store. Required.
	Endpoint string `yaml:"endpoint" required:"true" format:"url" example:"https://s3.eu-central-1.amazonaws.com" group:"Target" doc:"The address of the store: http:// or https://, a host, and a path where the store is below one."`
	// Region is the one that requests are signed for. Defaults to us-east-1.
	Region string `yaml:"region" default:"us-east-1" max:"64" group:"Target" doc:"Requests are signed for this region. A store in another one refuses them, and the channel is blocked. Stores without regions mostly take the default."`
	// Bucket must exist. Required.
	Bucket string `yaml:"bucket" required:"true" max:"255" example:"appointments" group:"Target" doc:"The objects are in this bucket, which must exist."`
	// Addressing is "path" (the default) or "host".
	Addressing string `yaml:"addressing" default:"path" enum:"path,host" advanced:"true" group:"Target" doc:"The place of the bucket's name: path puts it behind the endpoint, host in front of the endpoint's host. Most stores take both; a host needs a name and a certificate for each bucket."`
	// Prefix begins the names of all objects. Defaults to the channel's name and a slash.
	Prefix string `yaml:"prefix" max:"512" example:"appointments/" group:"Objects" doc:"Begins the names of all objects, and ends with a slash; / alone stands for no prefix. Defaults to the channel's name and a slash. Two channels must not have one prefix in a bucket: each would take the other's objects for its own."`
	// Suffix ends the names of all objects.
	Suffix string `yaml:"suffix" max:"64" example:".json" group:"Objects" doc:"Ends the names of all objects."`
	// Content is what an object holds: "json" (the default) or "bytes".
	Content string `yaml:"content" default:"json" enum:"json,bytes" group:"Objects" doc:"json takes JSON only, and puts white space behind the document that differs for each version; the guard needs it, as stores make the ETag from the content. bytes writes the payload and nothing else; the guard then is ledger: an older version can still win if a worker was frozen between reading and writing, and the content that it read is there again."`
	// Adopt takes objects over that were there before.
	Adopt bool `yaml:"adopt" group:"Objects" doc:"Takes objects over that were there before, at their first write. Without it they are conflicts, since the platform did not write them."`
	// Headers are sent with each object.
	Headers map[string]string `yaml:"headers" max:"16" example:"{x-amz-storage-class: STANDARD_IA}" advanced:"true" group:"Objects" doc:"Headers that go with each object: Cache-Control, Content-Disposition, Content-Language, x-amz-acl, x-amz-storage-class, x-amz-tagging, x-amz-server-side-encryption and what begins with x-amz-server-side-encryption-aws or -bucket. A store that does not take one blocks the channel."`
	// AccessKeyID names the key by which requests are signed. Required.
	AccessKeyID connectors.Ref `yaml:"access_key_id" required:"true" example:"${env:CHANNEL_S3_KEY_ID}" group:"Connection" doc:"The name of the access key, or a reference to it. It needs the rights to get and put objects below the prefix, and to list the bucket: without the last one a store says 403 where there is no object."`
	// SecretAccessKey is the key's secret. Required, a reference.
	SecretAccessKey connectors.Ref `yaml:"secret_access_key" required:"true" reference:"true" example:"${env:CHANNEL_S3_SECRET}" group:"Connection" doc:"The secret of the access key, as a reference to a secret."`
	// SessionToken goes with temporary keys. A reference.
	SessionToken connectors.Ref `yaml:"session_token" reference:"true" example:"${file:/run/extsync/secrets/s3-token}" advanced:"true" group:"Connection" doc:"The token of a temporary access key, as a reference to a secret. Keep all three in files that are replaced before the key expires; the channel is blocked when it has."`
	// TLS secures the connections to an https endpoint.
	TLS connkit.TLS `yaml:"tls" example:"{cert: '${file:/run/extsync/secrets/client.pem}', key: '${file:/run/extsync/secrets/client.key}'}" group:"Connection" doc:"Secures the connections to an https endpoint."`
	// AllowCIDRs are the networks, out of those that are not public, in which the store may
	// be. The worker's operator must allow them. Default: none.
	AllowCIDRs []string `yaml:"allow_cidrs" example:"[10.20.0.0/16]" group:"Connection" doc:"The store may be in these networks, besides public ones. The worker's operator must allow them, too. Without it only public addresses are connected to."`
}

// decode reads a configuration strictly, fills in the defaults and validates it.
func decode(data []byte) (Config, error) {
	var c Config
	var p connectors.Problems
	p.Decode(data, &c)
	p.Check(&c)
	c.check(&p)
	return c, p.Err()
}

var (
	bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
	regionName = regexp.MustCompile(`^[A-Za-z0-9_-]*$`)
)

func (c Config) check(p *connectors.Problems) {
	if u, err := parseEndpoint(c.Endpoint); c.Endpoint != "" && err != nil {
		p.Add("endpoint", "%v", err)
	} else if c.Endpoint != "" {
		var denied *connectors.AddressError
		if err := connectors.CheckHost(u.Hostname(), c.AllowCIDRs); errors.As(err, &denied) {
			p.Add("endpoint", "%v", err)
		}
		if u.Scheme == "http" && c.TLS != (connkit.TLS{}) {
			p.Add("tls", "the endpoint begins with http://, so nothing is secured")
		}
	}
	if c.Bucket != "" && !bucketName.MatchString(c.Bucket) {
		p.Add("bucket", "it is not the name of a bucket: letters, digits, '.', '_' and '-'")
	}
	if !regionName.MatchString(c.Region) {
		p.Add("region", "it is not the name of a region")
	}
	if problem := checkPrefix(c.Prefix); problem != "" {
		p.Add("prefix", "%s", problem)
	}
	if strings.Contains(c.Suffix, "/") || !printable(c.Suffix) {
		p.Add("suffix", "it must be printable, without a slash")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		if !takesHeader(name) {
			p.Add("headers."+name, "it is none of the headers that can be set")
		} else if !headerValue(c.Headers[name]) {
			p.Add("headers."+name, "its value has characters that a header cannot carry, or spaces around it")
		}
	}
	if s := string(c.AccessKeyID); !c.AccessKeyID.HasReference() && !headerValue(s) {
		p.Add("access_key_id", "it has characters that a header cannot carry, or spaces around it")
	}
	c.TLS.Check(p)
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	}
}

func parseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("it is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("it must begin with http:// or https://")
	case u.User != nil:
		return nil, errors.New("it must not hold a user name or password; use access_key_id and secret_access_key")
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
		return nil, errors.New("it must be a host, perhaps with a port and a path, and nothing else")
	case !printable(u.Path):
		return nil, errors.New("its path must be printable")
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), ""
	return u, nil
}

// checkPrefix says what is wrong with a prefix. Stores that keep objects as files take
// names for paths, so a part of it must not mean something else there.
func checkPrefix(prefix string) string {
	if prefix == "" || prefix == "/" {
		return ""
	}
	if !strings.HasSuffix(prefix, "/") {
		return "it must end with a slash"
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(prefix, "/"), "/") {
		if part == "" || part == "." || part == ".." {
			return "its parts between slashes must not be empty, '.' or '..'"
		}
	}
	if !printable(prefix) {
		return "it must be printable"
	}
	return ""
}

func printable(text string) bool {
	return utf8.ValidString(text) && strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) || r == '\\' }) < 0
}

// headerValue reports whether a header can carry a text exactly: signatures take runs of
// spaces for one.
func headerValue(text string) bool {
	return strings.TrimSpace(text) == text && !strings.Contains(text, "  ") &&
		strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// takesHeader reports whether a header may be configured: those that say how an object is
// kept and served, and none with a secret.
func takesHeader(name string) bool {
	lower := strings.ToLower(name)
	return slices.Contains([]string{
		"cache-control", "content-disposition", "content-language",
		"x-amz-acl", "x-amz-storage-class", "x-amz-tagging", "x-amz-server-side-encryption",
		"x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-bucket-key-enabled",
	}, lower)
}

// client returns what makes requests, without its transport.
func (c Config) client(s *connkit.Secrets) *client {
	u, err := parseEndpoint(c.Endpoint)
	if err != nil { // which decode has refused
		panic(err)
	}
	if c.Addressing == hostStyle {
		u.Host = c.Bucket + "." + u.Host
	} else {
		u.Path += "/" + c.Bucket
	}
	cl := &client{
		bucket: *u, region: c.Region, headers: http.Header{},
		signer: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }), // S3 signs paths as they are sent
		credentials: aws.Credentials{
			AccessKeyID: s.Text("access_key_id", c.AccessKeyID), SecretAccessKey: s.Text("secret_access_key", c.SecretAccessKey),
			SessionToken: s.Text("session_token", c.SessionToken),
		},
	}
	for name, value := range c.Headers {
		cl.headers.Set(name, value)
	}
	return cl
}
