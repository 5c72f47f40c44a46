// Package connplugin is the connector to plugins: programs in any language that write to
// a system which extsync has no kind for. A plugin speaks one JSON protocol, one document
// a line, as a program that the worker starts or by HTTP. docs/plugins.md describes every
// document.
//
// # The guarantees
//
// What a plugin declares is believed, once 'extsync connector test' has passed: how strong
// its guard is, and what it can do. A plugin that answers what the protocol does not allow
// is ended and started again.
//
// # After the worker
//
// A plugin may outlive the worker that asked it: the worker is killed, or stands still and
// another one takes over. So a program gets its input only when it has time for it, each
// request says until when it may be begun, and the kernel kills a program whose worker has
// died. A program that a plugin starts itself is ended with it, but for one case: the
// worker was killed, and the plugin's child has left its input unread.
package connplugin
