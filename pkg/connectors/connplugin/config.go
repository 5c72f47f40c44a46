package connplugin

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connkit"
	"github.com/hms-utl/extsync/pkg/connectors/connproto"
	"github.com/hms-utl/extsync/pkg/schema"
)

// The ways to a plugin.
const (
	viaExec = "exec"
	viaHTTP = "http"
)

// Config is the connector.config of a channel.
type Config struct {
	// Via is how the plugin is spoken to: exec starts Command, http posts to URL.
	Via string `yaml:"via" json:"via,omitempty" default:"exec" enum:"exec,http" group:"Plugin" doc:"exec starts the program of command; http posts to url."`
	// Command is the program, by its absolute path, and its arguments. The operator of the
	// worker must allow it in allow.programs. Arguments are no place for secrets: every user
	// of the machine can read them.
	Command []string `yaml:"command" json:"command,omitempty" required:"true" when:"via=exec" max:"100" example:"[/usr/local/lib/extsync/mine]" group:"Plugin" doc:"The program, by its absolute path, and its arguments; the worker's operator must allow it in allow.programs. Everybody on the machine can read arguments, so secrets belong into config."`
	// URL is where a plugin listens that is spoken to by http. A socket is
	// unix:/run/mine.sock, in a directory that allow.databases lists.
	URL string `yaml:"url" json:"url,omitempty" required:"true" when:"via=http" format:"url" example:"unix:/run/extsync/mine.sock" group:"Plugin" doc:"The plugin listens at this address; a socket must be in a directory of allow.databases."`
	// Headers are sent with each request by http.
	Headers map[string]connectors.Ref `yaml:"headers" json:"headers,omitempty" when:"via=http" example:"{Authorization: 'Bearer ${env:CHANNEL_PLUGIN_TOKEN}'}" group:"Connection" doc:"Headers of each request, such as a token by which the plugin knows the worker."`
	// TLS is for an https URL.
	TLS connkit.TLS `yaml:"tls" json:"tls,omitzero" example:"{cert: '${file:/run/extsync/secrets/client.pem}', key: '${file:/run/extsync/secrets/client.key}'}" when:"via=http" advanced:"true" group:"Connection" doc:"Secures the connection to an https URL."`
	// AllowCIDRs are the networks besides the public ones in which the URL may be.
	AllowCIDRs []string `yaml:"allow_cidrs" json:"allow_cidrs,omitempty" when:"via=http" example:"[127.0.0.0/8]" group:"Connection" doc:"The plugin may be in these networks, besides public ones; the worker's operator must allow them in allow.networks."`
	// Config is what the plugin gets as its own configuration. References to secrets may
	// stand in its texts.
	Config map[string]any `yaml:"config" json:"config,omitempty" example:"{table: appointments}" group:"Plugin" doc:"The plugin's own configuration. References to secrets may stand in its texts; the plugin gets their values."`
	// Capabilities are what the channel uses of what the plugin can do. A plugin that says
	// it can do less is refused.
	Capabilities Capabilities `yaml:"capabilities" json:"capabilities,omitzero" group:"Capabilities" doc:"The channel uses these of the plugin's capabilities; a plugin that can do less is refused. 'extsync connector test' writes all that a plugin can do."`
	// MaxBatch is the most attempts in one apply.
	MaxBatch int `yaml:"max_batch" json:"max_batch,omitempty" default:"100" min:"1" max:"1000" group:"Plugin" doc:"One request to the plugin has up to so many attempts. One that fails as a whole is tried again as a whole."`
	// KillAfter is how long a program may take to answer a call after the call's time is
	// over.
	KillAfter connectors.Duration `yaml:"kill_after" json:"kill_after,omitempty" default:"10s" min:"100ms" max:"10m" advanced:"true" group:"Plugin" doc:"A program may take so long to answer a call whose time is over; then it is killed and started again."`
}

// Capabilities are what a channel uses of a plugin.
type Capabilities = connproto.Capabilities

// Decode reads a configuration strictly, fills in what it leaves out, and validates it.
func Decode(data []byte) (Config, error) {
	var c Config
	var p connectors.Problems
	p.Decode(data, &c)
	c.check(&p)
	return c, p.Err()
}

func (c *Config) check(p *connectors.Problems) {
	p.Check(c)
	if c.Via == viaHTTP {
		c.checkHTTP(p)
	} else {
		c.checkExec(p)
	}
	checkTexts(p, "config", c.Config)
	c.Capabilities.Check(p)
}

// checkTexts looks for references in the plugin's own configuration that are none.
func checkTexts(p *connectors.Problems, path string, v any) {
	switch v := v.(type) {
	case string:
		if schema.BrokenReference(v) {
			p.Add(path, schema.BrokenReferenceText)
		}
	case []any:
		for i, e := range v {
			checkTexts(p, fmt.Sprintf("%s[%d]", path, i), e)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			checkTexts(p, path+"."+name, v[name])
		}
	}
}

func (c *Config) checkExec(p *connectors.Problems) {
	if c.Command != nil && len(c.Command) == 0 {
		p.Add("command", "it is empty; the program comes first")
	}
	if len(c.Command) > 0 && !filepath.IsAbs(c.Command[0]) {
		p.Add("command", "%q is not an absolute path", c.Command[0])
	}
	for _, argument := range c.Command {
		if connectors.Ref(argument).HasReference() {
			p.Add("command", "no secret can be an argument, which every user of the machine can read; put it into config")
		}
		if strings.ContainsRune(argument, 0) {
			p.Add("command", "an argument has a NUL character")
		}
	}
}

func (c *Config) checkHTTP(p *connectors.Problems) {
	if _, _, err := parseURL(c.URL); err != nil && c.URL != "" {
		p.Add("url", "%v", err)
	}
	if err := connectors.CheckNetworks(c.AllowCIDRs); err != nil {
		p.Add("allow_cidrs", "%v", err)
	}
	c.TLS.Check(p)
	checkHeaders(p, c.Headers)
}

// parseURL returns where to post, and the path of the socket to post through if there is
// one.
func parseURL(text string) (at *url.URL, socket string, err error) {
	if connectors.Ref(text).HasReference() {
		return nil, "", errors.New("it must not hold a secret")
	}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if !filepath.IsAbs(path) {
			return nil, "", errors.New("the socket must be an absolute path, as in unix:/run/mine.sock")
		}
		return &url.URL{Scheme: "http", Host: "plugin", Path: "/"}, path, nil
	}
	at, err = url.Parse(text)
	switch {
	case err != nil:
		return nil, "", errors.New("it is not a URL")
	case at.Scheme != "http" && at.Scheme != "https" || at.Host == "":
		return nil, "", errors.New("it must be http://host/path, https://host/path or unix:/path")
	case at.User != nil || at.Fragment != "":
		return nil, "", errors.New("it must not hold a user, a password or a fragment")
	}
	return at, "", nil
}
