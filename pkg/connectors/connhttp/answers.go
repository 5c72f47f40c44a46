package connhttp

import (
	"fmt"
	"strings"
	"time"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/schema"
)

// An Answer is one rule over what the target answered. Its expressions take
//
//	{op, attempt, status, headers, body, text, ref}
//
// op is "upsert" or "delete", attempt the number of the attempt, from 1. headers has the
// answer's by their names in lower case, those that came more than once joined by ", ".
// body is the JSON document that the answer holds, null if it is empty or no JSON; text is
// what came, as a text. ref has the values that are remembered of the key. Of an answer no
// more than the first MiB is read.
type Answer struct {
	// When decides whether the rule matches: it does unless the expression gives false,
	// null or nothing. One that fails does not match, and the failure is reported.
	// Required.
	When string `yaml:"when" json:"when" required:"true" format:"jq" example:".status == 409 and .body.existing.version != null" doc:"A jq expression over {op, attempt, status, headers, body, text}. The rule matches unless it gives false, null or nothing; one that fails does not match, and is counted."`
	// Class is what the answer means. "compare" decides by what the target says it holds:
	// the same version with the same digest is ok, a newer one stale, anything else, also
	// no version that can be read, a conflict. Required.
	Class string `yaml:"class" json:"class" required:"true" enum:"ok,transient,throttled,unready,misconfigured,permanent,conflict,compare" doc:"The meaning of the answer. compare decides by the version that the target says it holds: the same one with the same digest is ok, a newer one is stale, anything else is a conflict."`
	// RetryAfter is how long the target asks to be left alone: a duration ("30s"), or an
	// expression that gives seconds, a duration, a date, or seconds since 1970. At most
	// 24h; for classes that are tried again. Default: the header Retry-After.
	RetryAfter string `yaml:"retry_after" json:"retry_after,omitempty" example:"30s" advanced:"true" doc:"The target is left alone for so long, 24h at most: a duration, or a jq expression that gives seconds, a duration or a date. It is for classes that are tried again. Without it the header Retry-After counts."`
	// Version and Digest are expressions that give what the target holds, for class
	// compare. Default: the headers ce-entityversion and ce-entitydigest.
	Version string `yaml:"version" json:"version,omitempty" format:"jq" when:"class=compare" example:".body.existing.version" doc:"Gives the version that the target holds. Without it the header ce-entityversion counts; without both the answer is a conflict."`
	Digest  string `yaml:"digest" json:"digest,omitempty" format:"jq" when:"class=compare" example:".body.existing.digest" doc:"Gives the digest that the target holds. Without it the header ce-entitydigest counts."`
	// Remember gives values that the next request for the key wants, such as the target's
	// id of it: {ref.NAME} stands for one in URLs and headers. Each is a text or a number;
	// one that is null stays as it was, an empty text is forgotten. Names and values have
	// 256 bytes together. For classes ok and compare.
	Remember map[string]string `yaml:"remember" json:"remember,omitempty" format:"jq" when:"class=ok|compare" example:"{id: .body.id, etag: .headers.etag}" doc:"Values that the next request for the key wants, by the names under which {ref.NAME} stands for them. Each expression gives a text or a number; null leaves the value as it was, an empty text forgets it. Names and values have up to 256 bytes together."`
}

// compareClass is the class of rules that decide by what the target holds.
const compareClass = "compare"

// maxAnswers bounds the rules of a channel: all of them may be evaluated for one answer.
const maxAnswers = 64

// An answerRule is an Answer that was compiled. It is immutable.
type answerRule struct {
	name     string // as people find it: answers[0]
	when     *rule
	class    connectors.Class // Conflict with compares
	compares bool
	wait     time.Duration // fixed
	waits    *rule
	version  *rule
	digest   *rule
	remember []memory
	// readsBody and readsText: the rule cannot decide without them.
	readsBody, readsText bool
}

// compileAnswers returns the rules in their order. p is told of every bad field.
func compileAnswers(list []Answer, p *connectors.Problems) []answerRule {
	if len(list) > maxAnswers {
		return nil // said already
	}
	out := make([]answerRule, len(list))
	for i := range list {
		out[i] = list[i].compile(fmt.Sprintf("answers[%d]", i), p)
	}
	return out
}

func (a Answer) compile(name string, p *connectors.Problems) answerRule {
	r := answerRule{name: name}
	compile := func(field, text string) *rule {
		out, err := compileRule(text)
		if err != nil {
			p.Add(name+"."+field, "%v", err)
		}
		return out
	}
	r.when = compile("when", a.When)
	r.version, r.digest = compile("version", a.Version), compile("digest", a.Digest)
	if wait, err := schema.ParseDuration(a.RetryAfter); err == nil {
		if r.wait = wait; wait <= 0 || wait > connectors.MaxRetryAfter {
			p.Add(name+".retry_after", "%v is not above 0 and up to %v", wait, connectors.MaxRetryAfter)
		}
	} else {
		r.waits = compile("retry_after", a.RetryAfter)
	}
	r.compares = a.Class == compareClass
	r.class = classNamed(a.Class)
	if a.RetryAfter != "" && !waiting(r.class) {
		p.Add(name+".retry_after", "an answer of class %s is not tried again", a.Class)
	}
	if len(a.Remember) > 0 && a.Class != connectors.OK.String() && !r.compares {
		p.Add(name+".remember", "only what was delivered is remembered: it is for classes ok and compare")
	}
	r.remember = compileMemories(name+".remember", a.Remember, p)
	// Values to remember do not count: without them the update is delivered all the same.
	texts := []string{a.When, a.RetryAfter, a.Version, a.Digest}
	r.readsBody, r.readsText = mention(texts, "body"), mention(texts, "text")
	return r
}

// classNamed returns the class of a name, Conflict for compare and Transient for what is
// none.
func classNamed(name string) connectors.Class {
	if name == compareClass {
		return connectors.Conflict
	}
	for c := connectors.Transient; c <= connectors.Unready; c++ {
		if c.String() == name {
			return c
		}
	}
	return connectors.Transient
}

// waiting reports whether an update of this class is tried again.
func waiting(c connectors.Class) bool {
	switch c {
	case connectors.Transient, connectors.Throttled, connectors.Misconfigured, connectors.Unready:
		return true
	default:
		return false
	}
}

// mention reports whether an expression names a field of its input.
func mention(expressions []string, field string) bool {
	for _, text := range expressions {
		for at := strings.Index(text, field); at >= 0; {
			if !wordByte(text, at-1) && !wordByte(text, at+len(field)) {
				return true
			}
			next := strings.Index(text[at+1:], field)
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	return false
}

func wordByte(text string, at int) bool {
	if at < 0 || at >= len(text) {
		return false
	}
	c := text[at]
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
