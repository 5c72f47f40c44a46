#!/usr/bin/env bash
# Runs go test, as `go-test.sh race ARGUMENTS` or `go-test.sh plain ARGUMENTS`.
# The race detector needs cgo and a C compiler; without one the tests still run,
# and say so. Plain tests are built as the programs are, without cgo.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=$1
shift
go=${GO:-go}

export CGO_ENABLED=0
if [[ $mode == race ]]; then
	if command -v "${CC:-gcc}" >/dev/null && CGO_ENABLED=1 "$go" build -race runtime/cgo 2>/dev/null; then
		export CGO_ENABLED=1
		set -- -race "$@"
	else
		echo "NOTE: no C compiler that works with Go here, so these tests run WITHOUT the race detector." >&2
	fi
fi
# make check vets all of it; here vet would look at every dependency again, too, raced and not.
exec "$go" test -vet=off "$@"
