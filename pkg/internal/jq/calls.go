package jq

import "github.com/itchyny/gojq"

// guardCall returns a call of one of gojq's functions within bounds. What body
// gives is the same, in the same order.
func guardCall(body *gojq.Query, f *gojq.Func) *gojq.Query {
	name := signature(f.Name, len(f.Args))
	switch name {
	case "tonumber/0", "transpose/0", "strptime/1":
		body = pipe(call(inputFunc(f.Name)), body)
	case "explode/0":
		return call(explodeFunc)
	case "fromjson/0":
		body = call(fromjsonFunc)
	case "split/1":
		return call(splitFunc, f.Args[0])
	case "add/1":
		body = pipe(list(f.Args[0]), pipe(call(fitsFunc), call("add")))
	case "contains/1", "inside/1", "indices/1", "index/1", "rindex/1":
		guard := containsFunc
		if f.Name != "contains" && f.Name != "inside" {
			guard = indicesFunc
		}
		return bind(f.Args[0], right, pipe(call(guard, call(meterVariable), call(right)), call(f.Name, call(right))))
	case "join/1":
		body = bind(f.Args[0], right, pipe(call(joinFunc, call(meterVariable), identity(), call(right)), call("join", call(right))))
	case "sort_by/1", "group_by/1", "unique_by/1", "min_by/1", "max_by/1":
		// Each key is compared as often as there are others.
		body = call("_"+f.Name, pipe(list(pipe(every(identity()), list(f.Args[0]))), call(fitsFunc)))
	case "setpath/2", "getpath/1":
		f.Args[0] = pipe(f.Args[0], call(pathFunc))
	case "delpaths/1":
		f.Args[0] = pipe(f.Args[0], call(pathsFunc))
	case "fromstream/1":
		f.Args[0] = pipe(f.Args[0], call(eventFunc))
	case "strftime/1", "strflocaltime/1":
		f.Args[0] = pipe(f.Args[0], call(briefFunc))
	case "walk/1":
		f.Args[0] = pipe(call(fitsFunc), f.Args[0])
	case "match/1", "match/2":
		return every(regexpCall(matchFunc, f))
	case "capture/1", "capture/2":
		return every(regexpCall(captureFunc, f))
	case "scan/1", "scan/2":
		return every(regexpCall(scanFunc, f))
	case "splits/1", "splits/2":
		return every(regexpCall(piecesFunc, f))
	case "split/2":
		return regexpCall(piecesFunc, f)
	case "test/1", "test/2":
		return regexpCall(testFunc, f)
	case "sub/2", "sub/3", "gsub/2", "gsub/3":
		body = substitute(f)
	default:
		if !makesIt()[name] {
			return body
		}
	}
	switch name {
	case "tonumber/0", "strptime/1", "getpath/1", "delpaths/1", "strftime/1", "strflocaltime/1":
		return body // they give a part of what they are given, or little
	}
	return pipe(body, call(fitsFunc))
}

// inputFunc is the guard of a function of this name by its input.
func inputFunc(name string) string {
	switch name {
	case "tonumber":
		return digitsFunc
	case "transpose":
		return gridFunc
	default:
		return briefInputFunc
	}
}

// regexpCall returns a call of one of the functions that stand in for those of
// gojq. The second argument, the flags, may be absent. Some functions take both
// as a list then, for which the flags are false.
func regexpCall(name string, f *gojq.Func) *gojq.Query {
	flags := &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeNull}}
	switch {
	case len(f.Args) > 1:
		flags = f.Args[1]
	case name == testFunc || name == matchFunc || name == captureFunc:
		flags.Term.Type = gojq.TermTypeFalse
	}
	return call(name, call(meterVariable), f.Args[0], flags)
}

// substitute returns
// `cut(regexp; flags) as $cuts | [($cuts | .[0])[] | .[1] | [by]] as $others | paste($cuts; $others)[]`.
func substitute(f *gojq.Func) *gojq.Query {
	name := cutFunc
	if f.Name == "gsub" {
		name = cutAllFunc
	}
	found := regexpCall(name, &gojq.Func{Args: append([]*gojq.Query{f.Args[0]}, f.Args[2:]...)})
	matches := every(pipe(call(cuts), element(0)))
	by := list(pipe(matches, pipe(element(1), list(f.Args[1]))))
	return bind(found, cuts, bind(by, others, every(call(pasteFunc, call(meterVariable), call(cuts), call(others)))))
}

// element returns `.[n]`.
func element(n int) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeIndex, Index: &gojq.Index{Start: number(n)}}}
}
