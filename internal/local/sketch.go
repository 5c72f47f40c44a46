package local

import (
	"time"

	"github.com/hms-utl/extsync/pkg/channels"
	"github.com/hms-utl/extsync/pkg/connectors"
)

// The two channels that demo and dev start with.
const (
	CalendarChannel = "appointment_calendar"
	ERPChannel      = "erp_db"
	// ERPTable is the table that ERPChannel writes.
	ERPTable = "appointments"
)

// SketchChannels returns a calendar behind HTTP at url, which must be on
// loopback, and an ERP database in a SQLite file. Failed attempts are repeated
// soon and often: people at a terminal shall not wait, and may take their time
// before they bring a target back.
func SketchChannels(url, sqliteFile string) []channels.Config {
	retry := channels.Retry{
		MaxAttempts:    1000,
		InitialBackoff: connectors.Duration(100 * time.Millisecond),
		MaxBackoff:     connectors.Duration(time.Second),
	}
	calendar := channels.Config{
		Name: CalendarChannel, Description: "appointment calendar, over HTTP", Retry: retry,
		Connector: channels.Connector{Kind: "http", Config: channels.NewRaw(map[string]any{
			"url": url, "allow_cidrs": []string{"127.0.0.0/8"},
		})},
	}
	erp := channels.Config{
		Name: ERPChannel, Description: "ERP database, a SQLite file", Retry: retry,
		Connector: channels.Connector{Kind: "sql", Config: channels.NewRaw(map[string]any{
			"dialect": "sqlite", "dsn": sqliteFile, "table": ERPTable, "auto_create": true,
		})},
	}
	return []channels.Config{calendar.WithDefaults(), erp.WithDefaults()}
}
