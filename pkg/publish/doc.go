// Package publish stores updates at the broker under the version guard, and tells what
// became of them. Its errors are those of package events. Package extsync, which connects as
// correctness needs, is the door to it; PublishAll is here only.
package publish
