// Package kinds lists the connector kinds of this repository. Programs that
// register channels or deliver import it. It links the drivers of all databases, so
// a service that only publishes does without it.
package kinds

import (
	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connamqp"
	"github.com/hms-utl/extsync/pkg/connectors/conncaldav"
	"github.com/hms-utl/extsync/pkg/connectors/connfile"
	"github.com/hms-utl/extsync/pkg/connectors/connhttp"
	"github.com/hms-utl/extsync/pkg/connectors/connkafka"
	"github.com/hms-utl/extsync/pkg/connectors/connmqtt"
	"github.com/hms-utl/extsync/pkg/connectors/connnats"
	"github.com/hms-utl/extsync/pkg/connectors/connplugin"
	"github.com/hms-utl/extsync/pkg/connectors/connredis"
	"github.com/hms-utl/extsync/pkg/connectors/conns3"
	"github.com/hms-utl/extsync/pkg/connectors/connsql"
)

// All returns every connector kind that the programs of this repository know. A
// new kind is one line here.
func All() *connectors.Catalog {
	return connectors.NewCatalog(
		conncaldav.Kind(),
		connamqp.Kind(),
		connfile.File(),
		connfile.SFTP(),
		connhttp.Kind(),
		connkafka.Kind(),
		connmqtt.Kind(),
		connnats.Kind(),
		connplugin.Kind(),
		conns3.Kind(),
		connredis.Kind(),
		connsql.Kind(),
	)
}
