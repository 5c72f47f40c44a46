package connsql_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connsql"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// The guard is in the database: what comes late is refused, whoever sends it.
func ExampleKind() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder

	ctx := context.Background()
	host := connectors.Host{Allow: connectors.Allow{Grant: connectors.Grant{Databases: connectors.List{dir}}}}
	config := "dialect: sqlite\ndsn: " + filepath.Join(dir, "erp.db") + "\nauto_create: true\n"
	c, err := connsql.Kind().Open(ctx, host.Env("erp_db"), []byte(config))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx) //nolint:errcheck // nothing is lost by it

	for _, n := range []int64{7, 9, 8} {
		u := events.Update{Channel: "erp_db", Key: "p-2023-vax", Version: versioning.Must(versioning.Number(n)), Payload: []byte(`{"premium": 12.5}`)}
		res := c.Apply(ctx, []connectors.Attempt{{Update: u, Digest: u.Digest(), Number: 1}})[0]
		fmt.Printf("%d: %s, in the way: %q\n", n, res.Class, res.Held.Version)
	}
	// Output:
	// 7: ok, in the way: ""
	// 9: ok, in the way: ""
	// 8: stale, in the way: "9"
}
