package conncaldav_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/connectors/conncaldav"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// A preview shows what becomes of what a channel renders.
func ExampleKind() {
	ctx, env := context.Background(), connectors.Host{}.Env("appointments")
	c, err := conncaldav.Kind().Open(ctx, env, []byte("url: https://calendar.example/dav/clinic/appointments/\nuid_domain: clinic.example"))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx) //nolint:errcheck // nothing is lost by it

	u := events.Update{
		Channel: "appointments", Key: "e-1", Version: versioning.Must(versioning.Number(7)),
		Payload: []byte("BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//example//EN\nBEGIN:VEVENT\nDTSTAMP:20260301T080000Z\nDTSTART:20260402T090000Z\nSUMMARY:Review\nEND:VEVENT\nEND:VCALENDAR\n"),
	}
	p, err := c.(connectors.Previewer).Preview(ctx, connectors.Attempt{Update: u, Digest: u.Digest(), Number: 1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.Method, p.URL)
	fmt.Print(strings.ReplaceAll(string(p.Body), "\r\n", "\n"))
	// Output:
	// PUT https://calendar.example/dav/clinic/appointments/e-1.ics
	// BEGIN:VCALENDAR
	// VERSION:2.0
	// PRODID:-//example//EN
	// BEGIN:VEVENT
	// UID:e-1@clinic.example
	// SEQUENCE:0
	// X-EXTSYNC-VERSION:7
	// X-EXTSYNC-DIGEST:78947c318ed7f2e479a2bf04c4b0063d0055a67e8a9421cb70f41de50d
	//  9238c5
	// X-EXTSYNC-OP:upsert
	// DTSTAMP:20260301T080000Z
	// DTSTART:20260402T090000Z
	// SUMMARY:Review
	// END:VEVENT
	// END:VCALENDAR
}
