// Package faults finds out whether the delivery engine keeps its guarantees when
// everything around it breaks. It is for tests only.
//
// It has three parts: targets that record every write they apply (HTTPTarget,
// SQLTarget), ways to break things (Process, Server, Proxy, and what an
// HTTPTarget can be told to do), and Check, which proves the guarantees over all
// that happened, or names the first violation.
package faults
