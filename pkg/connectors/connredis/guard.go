package connredis

import (
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
	"github.com/hms-utl/extsync/pkg/versioning"
)

// script is the guard. It answers 1 if the server holds the update now, else the version
// and the digest that it holds; both are empty if something is there that has no version.
//
//	KEYS: the hash; in the layout value also the key of the payload
//	ARGV: version, digest, op, what is different from usual (again, adopt), and the payload, or
//	      for a delete the milliseconds for which it is remembered
//
// The first read and each write are called so that the server's own error is the answer,
// beginning with its code in every release. Whatever fails, the attempt that is made again
// does what was left: a tombstone's time is taken away before the version is written, for
// with that the attempt counts as made, and the payload is written before it, too. The time
// of a new tombstone comes last, also if its version is there already.
//
// In the usual case it makes two calls, as each costs as much as all of the comparison.
const script = `local hash, payload = KEYS[1], KEYS[2]
local version, op, data = ARGV[1], ARGV[3], ARGV[5]
local there = redis.pcall('HMGET', hash, 'v', 'op')
if there.err then return there end
local v, written, r = there[1], false, nil
local adopt = not v and string.find(ARGV[4], 'adopt')
if v then
  local same = v == version
  if #v ~= #version or v > version or v < '0' or not tonumber(v) or same and redis.call('HGET', hash, 'd') ~= ARGV[2] then
    return {v, redis.call('HGET', hash, 'd') or ''}
  end
  written = same and not string.find(ARGV[4], 'again')
elseif not adopt and redis.call('EXISTS', unpack(KEYS)) > 0 then
  return {'', ''}
end
if not written then
  if adopt or v and there[2] ~= 'upsert' then
    r = redis.pcall('PERSIST', hash)
    if type(r) == 'table' then return r end
  end
  if op == 'delete' then
    if payload then r = redis.pcall('DEL', payload) else r = redis.pcall('HDEL', hash, 'data') end
  elseif payload then r = redis.pcall('SET', payload, data) end
  if type(r) == 'table' and r.err then return r end
  if op == 'delete' or payload then r = redis.pcall('HSET', hash, 'v', version, 'd', ARGV[2], 'op', op)
  else r = redis.pcall('HSET', hash, 'v', version, 'd', ARGV[2], 'op', op, 'data', data) end
  if type(r) == 'table' then return r end
end
if op == 'delete' and data ~= '0' then
  r = redis.pcall('PEXPIRE', hash, data)
  if type(r) == 'table' then return r end
end
return 1`

// compareScript reads what is there of a key, and the payload unless it is longer than the
// attempt's: then it answers its length.
//
//	KEYS: the hash; in the layout value also the key of the payload
//	ARGV: the length of the attempt's payload
const compareScript = `local there = redis.pcall('HMGET', KEYS[1], 'v', 'd', 'op', 'data')
if there.err then
  if string.sub(there.err, 1, 9) ~= 'WRONGTYPE' then return there end
  there = {false, false, false, false}
end
if KEYS[2] then
  local r = redis.pcall('GET', KEYS[2])
  if type(r) == 'table' and r.err then
    if string.sub(r.err, 1, 9) ~= 'WRONGTYPE' then return r end
    r = 0
  end
  there[4] = r
end
for i = 1, 3 do
  if there[i] and #there[i] > 100 then there[i] = '' end
end
if type(there[4]) == 'string' and #there[4] > tonumber(ARGV[1]) then there[4] = #there[4] end
return there`

// probeScript calls a command that writes, and changes nothing: a server that takes no
// writes, or a user who may not write, is refused as with an update.
const probeScript = `return redis.pcall('HDEL', KEYS[1], 'probe')`

// sorted returns a version as digits that compare as versions do, and have another length
// for each kind of version.
func sorted(v versioning.Version) string {
	if at, ok := v.AsTime(); ok {
		return strings.Replace(at.UTC().Format("20060102150405.000000000"), ".", "", 1)
	}
	const width = len("9223372036854775807")
	digits := v.String()
	return strings.Repeat("0", width-len(digits)) + digits
}

// parseSorted reads what sorted has written. ok is false for any other text.
func parseSorted(text string) (v versioning.Version, ok bool) {
	const number, point = 19, 14
	var err error
	switch {
	case strings.Trim(text, "0123456789") != "":
		return v, false
	case len(text) == number:
		v, err = versioning.Parse(strings.TrimLeft(text, "0"))
	case len(text) == point+9:
		var at time.Time
		if at, err = time.Parse("20060102150405.000000000", text[:point]+"."+text[point:]); err == nil {
			v, err = versioning.Time(at)
		}
	default:
		return v, false
	}
	return v, err == nil
}

// tagOf reads the fields v and d of a hash. ok is false if the platform has not written
// them.
func tagOf(v, d string) (tag versioning.Tag, ok bool) {
	if tag.Version, ok = parseSorted(v); !ok {
		return versioning.Tag{}, false
	}
	if tag.Digest.UnmarshalText([]byte(d)) != nil {
		tag.Digest = versioning.Digest{} // as if there were none: no content is like it
	}
	return tag, true
}

// heldOf reads the fields v, d and op of a hash, zero if the platform has not written them.
func heldOf(fields []any) connectors.Held {
	tag, ok := tagOf(text(fields, 0), text(fields, 1))
	if !ok {
		return connectors.Held{}
	}
	op := events.Upsert
	if text(fields, 2) == string(events.Delete) {
		op = events.Delete
	}
	return connectors.Held{Tag: tag, Op: op}
}

// text returns an element of an answer, "" if it is none or no text.
func text(fields []any, i int) string {
	if i >= len(fields) {
		return ""
	}
	s, _ := fields[i].(string)
	return s
}

// A once is a command that the library does not send a second time after a failure. It
// still follows to where a cluster says that the key is.
type once struct{ *redis.Cmd }

// NoRetry tells the library so.
func (once) NoRetry() bool { return true }
