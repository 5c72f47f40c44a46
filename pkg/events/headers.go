package events

// The headers of an update on the wire: CloudEvents 1.0 in binary mode. NATS
// tells cases apart: exactly these spellings. docs/contract.md has the contract.
const (
	HeaderSpecVersion = "ce-specversion"
	HeaderID          = "ce-id"
	HeaderSource      = "ce-source"
	HeaderType        = "ce-type"
	HeaderTime        = "ce-time"
	HeaderSubject     = "ce-subject"
	HeaderVersion     = "ce-entityversion"
	HeaderOp          = "ce-op"
	HeaderBase        = "ce-baseversion"
	HeaderContentType = "content-type"
	HeaderReplyTo     = "Extsync-Reply-To"
	HeaderReplyForm   = "Extsync-Reply-Form"
	HeaderTraceParent = "traceparent"
	HeaderTraceState  = "tracestate"
)
