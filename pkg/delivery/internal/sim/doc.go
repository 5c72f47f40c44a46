// Package sim is the engine's world, simulated: a broker that speaks the protocol of NATS
// and as much of JetStream as extsync uses, ways to it that break, and targets that fail,
// all by seed. Histories of real publishers and real workers run in it without a socket,
// in the time of testing/synctest, some thousand a minute; the history checker judges each.
//
// The broker has no files and no cluster. What it does is what the real one was measured to
// do, and TestSimulatedBrokerAnswersAsTheRealOne compares the two. It panics on what it does
// not simulate, so that no test passes because of a guess.
package sim
