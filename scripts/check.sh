#!/usr/bin/env bash
# All that is checked without running the tests. It needs Go, and fetches the rest
# in the versions of tools/go.mod, once: Go keeps the built tools in its cache.
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/parts.bash

go=${GO:-go}
export CGO_ENABLED=0 # as the programs are built: the same cache serves both
lint=("$go" tool -modfile="$PWD/tools/go.mod" golangci-lint)

tidy() { "$go" mod tidy -diff && "$go" -C tools mod tidy -diff; }
format() { "${lint[@]}" fmt --diff ./... || { echo "Run: make format" && return 1; }; }
# The linter has all that `go vet` looks for (govet), and reads the code once for both.
lint() { "${lint[@]}" run ./... && (cd tools && "${lint[@]}" run ./...); }
licences() { "$go" -C tools test ./... && "$go" run -C tools ./licences "$PWD"; }

generated() {
	some_tests "$go" test -v -count=1 -run='IsUpToDate$' ./test/integration || { echo "Run: make docs" && return 1; }
}

# vulnerabilities asks the database of govulncheck, which may not answer here.
vulnerabilities() {
	local out code=0
	out=$("$go" tool -modfile="$PWD/tools/go.mod" govulncheck ./... 2>&1) || code=$?
	printf '%s\n' "$out"
	if [[ $code -eq 1 && $out == *"fetching vulnerabilities"* ]]; then
		not_checked "known vulnerabilities: the database of govulncheck does not answer here (see above)"
		return
	fi
	return "$code"
}

fuzz() {
	local code=0
	scripts/fuzz-changed.sh || code=$?
	if [[ $code -eq 3 ]]; then
		not_checked "fuzz what changed: nothing of it within its time (see above)"
		return
	fi
	return "$code"
}

part "modules are tidy" tidy
part "build the linter" "${lint[@]}" version
part "format" format
part "vet and lint" lint
part "generated files" generated
part "licences" licences
part "known vulnerabilities" vulnerabilities
part "fuzz what changed" fuzz
parts_end
