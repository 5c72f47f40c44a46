package connhttp_test

import (
	"fmt"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connhttp"
)

// A configuration is checked as a whole before it is used.
func ExampleKind() {
	catalog := connectors.NewCatalog(connhttp.Kind())
	kind, err := catalog.Kind("http")
	if err != nil {
		panic(err)
	}
	fmt.Println(kind.Check([]byte(`
url: https://calendar.example.org/entities/{key}
method: PUT
delete: {method: DELETE}
auth: {bearer: "${env:CHANNEL_CALENDAR_TOKEN}"}
`)))
	fmt.Println(kind.Check([]byte(`{url: "ftp://example.org", method: GET, auth: {bearer: plain}}`)))
	// Output:
	// <nil>
	// invalid configuration: method: "GET" is none of POST, PUT, PATCH; auth.bearer: it must refer to a secret, as ${env:NAME} or ${file:/path}; url: it must start with http:// or https://
}
