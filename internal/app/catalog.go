// Package app puts the processes together: each is a function that runs until
// its context ends, so that tests and other programs can embed it. What needs
// the embedded broker is in the packages local and demo, which the services do
// not link.
package app

import (
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connhttp"
	"github.com/hms-utl/extsync/pkg/connectors/connsql"
)

// Catalog returns every connector kind that the programs of this repository
// know. A new kind is one line here.
func Catalog() *connectors.Catalog {
	return connectors.NewCatalog(
		connhttp.Kind(),
		connsql.Kind(),
	)
}
