package conncaldav_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/conncaldav"
)

func TestConfigurations(t *testing.T) {
	t.Parallel()
	if lacks := conncaldav.Kind().Fields().Lint(); len(lacks) > 0 {
		t.Error(lacks)
	}
	const good = "url: https://calendar.example/dav/clinic/\n"
	for _, c := range []struct{ config, says string }{ // says "": it is good
		{good, ""},
		{"url: http://calendar.example", ""},
		{good + "component: VTODO\nuid_domain: a-b.example\nadopt: true\n", ""},
		{good + "auth: {basic: {username: joe, password: '${env:CHANNEL_PASSWORD}'}}\n", ""},
		{good + "auth: {bearer: '${file:/run/extsync/secrets/token}'}\n", ""},
		{"{}", "url"},
		{"url: calendar.example", "http"},
		{"url: 'https://joe:hunter2@calendar.example/'", "auth"},
		{"url: https://calendar.example/?x=1", "nothing else"},
		{"url: https://10.0.0.1/", "url"},
		{"url: http://calendar.example/\ntls: {server_name: x}\n", "tls"},
		{good + "component: VJOURNAL\n", "component"},
		{good + "uid_domain: a@b\n", "uid_domain"},
		{good + "allow_cidrs: [x]\n", "allow_cidrs"},
		{good + "auth: {bearer: hunter2}\n", "bearer"},
		{good + "auth: {basic: {username: joe, password: hunter2}}\n", "password"},
		{good + "auth: {basic: {username: 'j:oe', password: '${env:P}'}}\n", "colon"},
		{good + "auth: {bearer: '${env:T}', basic: {username: joe, password: '${env:P}'}}\n", "only one"},
		{good + "username: joe\n", "username"},
	} {
		err := conncaldav.Kind().Check([]byte(c.config))
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, connectors.ErrConfig) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s\n%v; want an error that says %q", c.config, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in %v", err)
		}
	}
}
