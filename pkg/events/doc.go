// Package events has what a platform and a target say to each other through extsync: an
// Update, its Ack and its Outcome, the errors of publishing, and of the wire what a program
// may do itself: keys in subjects, the subjects of updates and acks, the headers of a message.
// Package extsync is the door; package publish has the publisher.
package events
