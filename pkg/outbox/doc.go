// Package outbox adds updates to a platform's own transaction: an update is published
// exactly when the transaction commits.
//
//	tx, err := db.BeginTx(ctx, nil)
//	... // the change itself
//	version, err := outbox.Next(ctx, outbox.SQL(tx, outbox.Postgres), "p-2023-vax")
//	err = outbox.Put(ctx, outbox.SQL(tx, outbox.Postgres), events.Update{
//		Topic: "policies", Key: "p-2023-vax", Version: version, Payload: payload,
//	})
//	err = tx.Commit()
//
// Put adds a row to the table extsync_outbox; `publisher relay` publishes the row and
// removes it. DDL has the statements that make the tables. A program in another language
// adds the row itself.
package outbox
