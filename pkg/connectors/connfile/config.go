package connfile

import (
	"fmt"
	"net"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
)

// The layouts.
const (
	versionsLayout = "versions"
	currentLayout  = "current"
	dropLayout     = "drop"
)

// What a file of the layout drop holds, and whether it has a marker.
const (
	noMarker = "none"

	noBatch     = "none"
	ndjsonBatch = "ndjson"
	csvBatch    = "csv"
)

// Layout says which files there are. It is the same for both kinds.
type Layout struct {
	// Layout is "versions" (the default), "current" or "drop".
	Layout string `yaml:"layout" default:"versions" enum:"versions,current,drop" group:"Files" doc:"versions keeps the newest version of a key in KEY/VERSION.json and refuses older ones; it needs hard links. current keeps it in KEY.json, where nothing but extsync's own order keeps an older one from coming last. drop adds KEY.VERSION.json for every update, or a file for each batch, and is for channels of the mode every."`
	// Extension ends the name of each file with a payload.
	Extension string `yaml:"extension" default:"json" max:"16" example:"xml" group:"Files" doc:"Ends the name of each file with a payload. The content is what the channel's mapping and render make, whatever the extension says. After a change, files of the layout current that have the old one stay."`
	// CaseSensitive says that the file system tells upper case from lower case.
	CaseSensitive bool `yaml:"case_sensitive" group:"Files" doc:"Upper-case letters of a key stand in file names as they are: P-7 has the file P-7.json. Without it they are escaped, as =50-7.json, since a file system that takes upper and lower case for one would keep two keys in one file. After a change no file of before is found."`
	// Marker adds an empty file with the name of each file and .done behind it.
	Marker string `yaml:"marker" default:"done" enum:"done,none" when:"layout=drop" group:"Files" doc:"done adds an empty file NAME.done once the file NAME is whole and on the disk, for receivers that wait for one. A file never has its name before it is whole, so others need none."`
	// Batch is what is in a file: one update, or as many as the worker has at once.
	Batch string `yaml:"batch" default:"none" enum:"none,ndjson,csv" when:"layout=drop" group:"Files" doc:"none writes a file for each update. ndjson writes the updates that a worker has at once into one file, each as a line with key, version, op, digest and content. csv joins payloads that begin with the same header, which is there once; deletes have files of their own. An update whose file was written and whose outcome was not noted is in a later file again: receivers must ignore what they have."`
	// MaxBatch is the most updates in a file.
	MaxBatch int `yaml:"max_batch" default:"200" min:"4" max:"10000" when:"batch=ndjson|csv" advanced:"true" group:"Files" doc:"A file has up to so many updates."`
}

// FileConfig is the configuration of a connector of kind file.
type FileConfig struct {
	// Directory is where the files are. The worker's operator must allow it.
	Directory string `yaml:"directory" required:"true" format:"path" example:"/var/lib/extsync/people" group:"Directory" doc:"The files are in this directory, which must exist; the worker's operator must allow it in allow.databases. Two channels must not have one directory: each would take the other's files for its own."`
	Layout    `yaml:",inline"`
}

// SFTPConfig is the configuration of a connector of kind sftp.
type SFTPConfig struct {
	// Host and Port are where the server is.
	Host string `yaml:"host" required:"true" format:"host" max:"253" example:"sftp.partner.example" group:"Server" doc:"The server's name or address."`
	Port int    `yaml:"port" default:"22" min:"1" max:"65535" group:"Server" doc:"The server listens at this port."`
	// User logs in, by PrivateKey, Password or both.
	User       string         `yaml:"user" required:"true" max:"255" example:"extsync" group:"Server" doc:"Logs in as this user. One that may not write in the directory blocks the channel."`
	PrivateKey connectors.Ref `yaml:"private_key" reference:"true" format:"pem" example:"${file:/run/extsync/secrets/sftp_key}" group:"Server" doc:"The user's private key, as ssh-keygen writes it. A server that does not know it blocks the channel."`
	Passphrase connectors.Ref `yaml:"passphrase" reference:"true" example:"${env:CHANNEL_SFTP_PASSPHRASE}" advanced:"true" group:"Server" doc:"Opens private_key where that is encrypted."`
	Password   connectors.Ref `yaml:"password" reference:"true" example:"${env:CHANNEL_SFTP_PASSWORD}" group:"Server" doc:"The user's password, for servers that take one, asked for by keyboard-interactive too. Give it or private_key; with both, the key comes first."`
	// HostKeys are the keys by which the server is known. They are never skipped.
	HostKeys []string `yaml:"host_keys" required:"true" max:"100" example:"['SHA256:uNiVztksCsDhcc0u9e8BrrQXVUpKZIDTMczCvj3tD2s']" group:"Server" doc:"The server must show one of these keys: a line of known_hosts for this host and port, a public key (ssh-ed25519 AAAA...), or its fingerprint (SHA256:...), as 'ssh-keyscan HOST | ssh-keygen -lf -' prints it. Any other key blocks the channel: somebody may stand in between."`
	// Directory is where the files are at the server.
	Directory string `yaml:"directory" required:"true" max:"1024" example:"/upload/people" group:"Directory" doc:"The files are in this directory of the server, which must exist; a path without a slash in front begins where the user is after the login. Two channels must not have one directory: each would take the other's files for its own."`
	Layout    `yaml:",inline"`
	// Connections bounds how many there are.
	Connections int `yaml:"connections" default:"4" min:"1" max:"64" advanced:"true" group:"Connection" doc:"A worker keeps up to so many connections, which calls share. More are faster where the server waits for its disk; servers limit how many one user may have."`
	// AllowCIDRs are the networks besides the public ones in which the server may be.
	AllowCIDRs []string `yaml:"allow_cidrs" example:"[10.20.0.0/16]" group:"Connection" doc:"The server may be in these networks, besides public ones. The worker's operator must allow them, too. Without it only public addresses are connected to."`
}

func decodeFile(data []byte) (FileConfig, error) {
	var c FileConfig
	var p connectors.Problems
	p.Decode(data, &c)
	p.Check(c)
	c.check(&p)
	if strings.ContainsRune(c.Directory, 0) || c.Directory != "" && !filepath.IsAbs(c.Directory) {
		p.Add("directory", "%q is not an absolute path", c.Directory)
	}
	return c, p.Err()
}

func decodeSFTP(data []byte) (SFTPConfig, error) {
	var c SFTPConfig
	var p connectors.Problems
	p.Decode(data, &c)
	p.Check(c)
	c.check(&p)
	if strings.ContainsRune(c.Directory, 0) {
		p.Add("directory", "it has a byte 0")
	}
	if c.PrivateKey == "" && c.Password == "" {
		p.Add("private_key", "give it, or password")
	}
	if c.Passphrase != "" && c.PrivateKey == "" {
		p.Add("passphrase", "it is for private_key, which is missing")
	}
	if c.Password != "" {
		connkit.MustRefer(&p, "password", c.Password)
	}
	for i, text := range c.HostKeys {
		if _, err := parseHostKey(text, c.address()); err != nil {
			p.Add(fmt.Sprintf("host_keys[%d]", i), "%v", err)
		}
	}
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	} else if err := connectors.CheckHost(c.Host, c.AllowCIDRs); err != nil {
		p.Add("host", "%v", err)
	}
	return c, p.Err()
}

var extensionPattern = regexp.MustCompile(`^[a-z0-9]+$`)

func (l *Layout) check(p *connectors.Problems) {
	switch {
	case !extensionPattern.MatchString(l.Extension):
		p.Add("extension", "%q has other characters than a-z and 0-9", l.Extension)
	case l.Extension == deletedExt || l.Extension == doneExt || l.Extension == tagExt || l.Extension == tempExt:
		p.Add("extension", "%q has a meaning of its own here", l.Extension)
	}
}

func (c *SFTPConfig) address() string { return net.JoinHostPort(c.Host, strconv.Itoa(c.Port)) }

// url shows people where the directory is.
func (c *SFTPConfig) url() string {
	return "sftp://" + c.User + "@" + c.address() + path.Join("/", c.Directory)
}
