package connfile_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/connfile"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A version has a name of its own, so an older one that comes late takes nobody's place.
func ExampleFile() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a temporary folder

	ctx := context.Background()
	host := connectors.Host{Allow: connectors.Allow{Grant: connectors.Grant{Databases: connectors.List{dir}}}}
	c, err := connfile.File().Open(ctx, host.Env("people"), []byte("layout: versions\ndirectory: "+dir))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx) //nolint:errcheck // nothing is lost by it

	for _, n := range []int64{7, 9, 8} {
		u := events.Update{Channel: "people", Key: "p-2023/vax", Version: versioning.Must(versioning.Number(n)), Op: events.Upsert, Payload: []byte(`{"premium": 12.5}`)}
		res := c.Apply(ctx, []connectors.Attempt{{Update: u, Digest: u.Digest(), Number: 1}})[0]
		fmt.Printf("%d: %s, in the way: %q\n", n, res.Class, res.Held.Version)
	}
	files, err := os.ReadDir(dir + "/p-2023=2fvax")
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range files {
		fmt.Println(f.Name())
	}
	// Output:
	// 7: ok, in the way: ""
	// 9: ok, in the way: ""
	// 8: stale, in the way: "9"
	// .0000000000000000009.tag
	// 0000000000000000009.json
}
