package conns3

import (
	"slices"
	"strconv"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A meaning is a row of the table.
type meaning connectors.Meaning

// Codes returns what the codes of S3 stand for, and at the end what the statuses do where
// a store gives no code, or one that is not listed.
func Codes() []connectors.Meaning {
	var out []connectors.Meaning
	for _, m := range table() {
		out = append(out, connectors.Meaning(m))
	}
	return out
}

func table() []meaning {
	const (
		transient = connectors.Transient
		throttled = connectors.Throttled
		permanent = connectors.Permanent
		unready   = connectors.Unready
		acts      = connectors.Misconfigured
	)
	return []meaning{
		{"AccessDenied", acts, "the access key may not do this", "its rights are for somebody to change"},
		{"AllAccessDisabled", acts, "all access to the bucket is disabled", "for its owner to change"},
		{"AccountProblem", acts, "there is a problem with the account", "for its owner to clear"},
		{"InvalidAccessKeyId", acts, "there is no such access key", "the secret is for somebody to change"},
		{"SignatureDoesNotMatch", acts, "the signature does not fit", "the secret or the region is wrong, or something on the way changes requests"},
		{"ExpiredToken", acts, "the session token has expired", "a new one is for somebody to give"},
		{"InvalidToken", acts, "the session token is not valid", "a new one is for somebody to give"},
		{"TokenRefreshRequired", acts, "the session token must be renewed", "a new one is for somebody to give"},
		{"RequestTimeTooSkewed", acts, "the clock of this machine or the store's is wrong", "for somebody to set"},
		{"AuthorizationHeaderMalformed", acts, "requests are signed for another region", "region is for somebody to set"},
		{"IllegalLocationConstraintException", acts, "the bucket is in another region", "region is for somebody to set"},
		{"PermanentRedirect", acts, "the bucket is at another endpoint", "endpoint and region are for somebody to set"},
		{"TemporaryRedirect", transient, "the bucket is being moved", "it passes"},
		{codeNoBucket, acts, "there is no such bucket", "somebody must make it"},
		{"InvalidBucketName", acts, "it is not the name of a bucket", "for somebody to set"},
		{"InvalidStorageClass", acts, "the store has no such storage class", "for somebody to set"},
		{"NotImplemented", acts, "the store does not know a header that was sent, such as a condition", "it has no conditional writes, or headers names what it lacks"},
		{"InvalidArgument", acts, "the store does not take a header that was sent", "for somebody to set"},
		{"InvalidRequest", acts, "the store does not take such requests", "headers, or a rule of the bucket, are for somebody to change"},
		{"KMS.DisabledException", acts, "the key of the encryption is disabled", "for somebody to change"},
		{"KMS.NotFoundException", acts, "there is no such key of the encryption", "for somebody to set"},
		{"KMS.KMSInvalidStateException", acts, "the key of the encryption cannot be used now", "for somebody to change"},
		{"QuotaExceeded", acts, "a quota is used up", "room is for somebody to make"},
		{"XMinioAdminBucketQuotaExceeded", acts, "the bucket's quota is used up", "room is for somebody to make"},
		{"XMinioStorageFull", acts, "the store is full", "room is for somebody to make"},
		{"InvalidObjectState", unready, "the object is in an archive", "somebody may restore it"},
		{"ObjectParentIsFile", unready, "an object stands where the store wants a directory", "somebody may remove it"},
		{"ExistingObjectIsDirectory", unready, "a directory stands where the object is to be", "somebody may remove it"},
		{"XMinioParentIsObject", unready, "an object stands where the store wants a directory", "somebody may remove it"},
		{"EntityTooLarge", permanent, "the payload is too large for the store", "it stays so"},
		{"KeyTooLongError", permanent, "the name of the object is too long for the store", "it stays so"},
		{"MetadataTooLarge", permanent, "the metadata are too large for the store", "they stay so"},
		{"XMinioInvalidObjectName", permanent, "the store takes no such name", "it stays so"},
		{"ConditionalRequestConflict", transient, "somebody else writes the object right now", "it passes"},
		{"OperationAborted", transient, "another operation is in the way", "it passes"},
		{"PreconditionFailed", transient, "the store refuses the condition although it holds what was read", "a copy that lags, or something on the way that changes ETags"},
		{"RequestTimeout", transient, "the request took too long on its way", "the network's fault"},
		{"IncompleteBody", transient, "the request broke off on its way", "the network's fault"},
		{"BadDigest", transient, "the content was changed on its way", "the network's fault"},
		{"XAmzContentSHA256Mismatch", transient, "the content was changed on its way", "the network's fault"},
		{"SlowDown", throttled, "too many requests", "the store asks for time"},
		{"SlowDownRead", throttled, "too many requests", "the store asks for time"},
		{"SlowDownWrite", throttled, "too many requests", "the store asks for time"},
		{"ServiceUnavailable", throttled, "too many requests, or the store is down", "the store asks for fewer requests"},
		{"RequestLimitExceeded", throttled, "too many requests", "the store asks for time"},
		{"TooManyRequests", throttled, "too many requests", "the store asks for time"},
		{"BandwidthLimitExceeded", throttled, "too much at once", "the store asks for time"},
		{"3xx", acts, "", "the store is elsewhere, and redirects are not followed"},
		{"404", acts, "", "objects are created: the bucket, or the way to it, is not there"},
		{"408", transient, "", "the network's fault"},
		{"409", transient, "", "somebody else is at it right now"},
		{"412", transient, "", "as PreconditionFailed"},
		{"413", permanent, "", "the payload is too large"},
		{"429", throttled, "", "the store asks for time"},
		{"4xx", acts, "", "the connector's requests differ in nothing but their content, so it is the access or a header that the store does not take; if another key gets through, it is tried again"},
		{"501", acts, "", "the store lacks what is asked for"},
		{"503", throttled, "", "S3 says so to those who ask too often, and the answer to HEAD has no code"},
		{"507", acts, "", "the store is full"},
		{"5xx", transient, "", "the store's fault"},
	}
}

// meaningOf returns what an answer means, by its code, else by its status.
func meaningOf(code string, status int) meaning {
	all, exact := table(), strconv.Itoa(status)
	for _, c := range []string{code, exact, exact[:1] + "xx"} {
		if i := slices.IndexFunc(all, func(m meaning) bool { return m.Code == c }); i >= 0 {
			return all[i]
		}
	}
	return meaning{} // transient
}
