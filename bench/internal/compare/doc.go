// Package compare measures extsync against the smallest loop that could do the same
// work without its guarantees: the floor. Broker, worker, floor and target are
// processes of their own on loopback, started anew for each measurement, and the
// two sides take turns, so that what else the machine does hits both.
//
// What is compared is the ratio within one run. The rates themselves say more
// about the machine than about extsync.
package compare
