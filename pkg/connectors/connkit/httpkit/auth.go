package httpkit

import (
	"encoding/base64"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// Basic is HTTP basic authentication. The zero Basic is none.
type Basic struct {
	Username string         `yaml:"username" json:"username,omitempty" required:"true" example:"extsync" doc:"The name of the user, without a colon."`                                              // required
	Password connectors.Ref `yaml:"password" json:"password,omitempty" required:"true" reference:"true" example:"${env:CHANNEL_CALENDAR_PASSWORD}" doc:"The password, as a reference to a secret."` // required, a reference
}

// Check adds what is wrong with the settings at a path, and what no tag says.
func (b Basic) Check(p *connectors.Problems, path string) {
	if strings.Contains(b.Username, ":") {
		p.Add(path+".username", "it must not contain a colon")
	}
}

// Header returns the value of the header Authorization, which the scrubber then knows as
// a secret.
func (b Basic) Header(password string, scrubber *connectors.Scrubber) string {
	encoded := base64.StdEncoding.EncodeToString([]byte(b.Username + ":" + password))
	scrubber.Add(encoded)
	return "Basic " + encoded
}
