// Pocketbase is a real server with a REST API that makes ids, for tests. It serves one
// open collection, "contacts" of {external_id, data}, at the address and in the directory
// that it is given.
package main

import (
	"fmt"
	"os"

	"github.com/pocketbase/pocketbase"
	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/types"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: pocketbase ADDRESS DIRECTORY")
	}
	app := pocketbase.NewWithConfig(pocketbase.Config{DefaultDataDir: os.Args[2], HideStartBanner: true})
	if err := app.Bootstrap(); err != nil {
		return err
	}
	if err := app.RunAllMigrations(); err != nil {
		return err
	}
	contacts := core.NewBaseCollection("contacts")
	for _, rule := range []**string{&contacts.ListRule, &contacts.ViewRule, &contacts.CreateRule, &contacts.UpdateRule, &contacts.DeleteRule} {
		*rule = types.Pointer("") // anybody may
	}
	contacts.Fields.Add(&core.TextField{Name: "external_id"}, &core.JSONField{Name: "data"})
	if err := app.Save(contacts); err != nil {
		return err
	}
	return apis.Serve(app, apis.ServeConfig{HttpAddr: os.Args[1]})
}
