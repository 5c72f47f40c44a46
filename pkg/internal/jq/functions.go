package jq

import (
	"strings"
	"sync"
)

// What an expression may call. A function of gojq is one step, however much it
// does, and a step cannot be stopped: so each was read in gojq's source, and is
// in one of these lists by how much time and memory one call can take. What is
// in none cannot be called, as whatever a later gojq adds.

// bounded take time and memory in the order of what they are given, and give no
// more than that: scalars, parts of it, or what arguments give.
const bounded = `
	IN/1 IN/2 abs/0 all/0 all/1 all/2 any/0 any/1 any/2 arrays/0 ascii_downcase/0 ascii_upcase/0 booleans/0 bsearch/1 del/1
	empty/0 endswith/1 env/0 error/0 error/1 finites/0 first/0 first/1 flatten/0 flatten/1 fromdate/0 fromdateiso8601/0
	gmtime/0 has/1 in/1 isempty/1 iterables/0 keys/0 last/0 last/1 length/0 limit/2 localtime/0 ltrim/0 ltrimstr/1 max/0 min/0 mktime/0
	normals/0 not/0 now/0 nth/1 nth/2 nulls/0 numbers/0 objects/0 range/1 range/2 range/3 recurse/0 recurse/1 recurse/2 repeat/1 reverse/0
	rtrim/0 rtrimstr/1 scalars/0 select/1 skip/2 sort/0 startswith/1 strings/0 toboolean/0 todate/0 todateiso8601/0 trim/0 trimstr/1 type/0 unique/0
	until/2 utf8bytelength/0 values/0 while/2
	acos/0 acosh/0 asin/0 asinh/0 atan/0 atan2/2 atanh/0 cbrt/0 ceil/0 copysign/2 cos/0 cosh/0 drem/2 erf/0 erfc/0 exp/0 exp10/0 exp2/0 expm1/0
	fabs/0 fdim/2 floor/0 fma/3 fmax/2 fmin/2 fmod/2 frexp/0 gamma/0 hypot/2 infinite/0 isfinite/0 isinfinite/0 isnan/0 isnormal/0
	j0/0 j1/0 ldexp/2 lgamma/0 log/0 log10/0 log1p/0 log2/0 logb/0 modf/0 nan/0 nearbyint/0 nextafter/2 nexttoward/2 pow/2 remainder/2 rint/0 round/0
	scalb/2 scalbln/2 significand/0 sin/0 sinh/0 sqrt/0 tan/0 tanh/0 tgamma/0 trunc/0 y0/0 y1/0`

// making take time in the order of what they are given, and can give more than
// that, a few times as much in one step: what they give is looked at.
const making = `
	INDEX/1 INDEX/2 JOIN/2 JOIN/3 JOIN/4 add/0 combinations/0 combinations/1 format/1 from_entries/0 implode/0 map/1 map_values/1 path/1 paths/0 paths/1
	pick/1 to_entries/0 tojson/0 tostream/0 tostring/0 truncate_stream/1 with_entries/1`

// guarded are looked at before they run, or are replaced. See guardCall.
const guarded = `
	add/1 capture/1 capture/2 contains/1 delpaths/1 explode/0 fromjson/0 fromstream/1 getpath/1 group_by/1 gsub/2 gsub/3 index/1 indices/1 inside/1
	join/1 match/1 match/2 max_by/1 min_by/1 rindex/1 scan/1 scan/2 setpath/2 sort_by/1 split/1 split/2 splits/1 splits/2 strflocaltime/1 strftime/1
	strptime/1 sub/2 sub/3 test/1 test/2 tonumber/0 transpose/0 unique_by/1 walk/1`

// refused have no bound, or no use here. jn and yn take as many rounds as their
// argument says; the others end the run or ask for what there is not.
const refused = `builtins/0 debug/1 halt/0 halt_error/0 halt_error/1 input/0 inputs/0 jn/2 modulemeta/0 yn/2`

func setOf(lists ...string) map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(strings.Join(lists, " ")) {
		set[name] = true
	}
	return set
}

//nolint:gochecknoglobals // constants that the language cannot express as such
var (
	known   = sync.OnceValue(func() map[string]bool { return setOf(bounded, making, guarded) })
	makesIt = sync.OnceValue(func() map[string]bool { return setOf(making) })
)
