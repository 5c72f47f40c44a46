#!/usr/bin/env bash
# Runs the tests: `test.sh` at the size that fits into `make test`, `test.sh full`
# all of them raced and three times over, and once more at full size.
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/parts.bash

go=${GO:-go}
# What a library and a server of others do takes these most of their time, and the race detector
# makes it three times as much. make test-full races them, too.
slow=(./pkg/connectors/conn{caldav,file,http,s3,sql}/...)
# The race detector slows the tests of pkg/ the least for what it finds there.
mapfile -t raced < <("$go" list ./pkg/... | grep -vxFf <("$go" list "${slow[@]}"))
# These run the built programs, which the test cache does not know of: never cached. What takes
# longest begins first.
plain=(./test/integration/... "${slow[@]}" ./bench/... ./cmd/... ./examples/... ./internal/...)
# The race detector allocates, too.
counted=(./pkg/delivery/... ./pkg/connectors/connhttp ./pkg/connectors/connsql)

# What only computes: beside other tests it takes what they leave.
counts() {
	nice -n 10 scripts/go-test.sh plain -v -count=1 -timeout=20m -run='^TestHistories$|^TestSimulationFinds' ./pkg/delivery/internal/sim &&
		nice -n 10 scripts/go-test.sh plain -v -count=1 -run='^TestHostileExpressions$' ./pkg/internal/jq &&
		nice -n 10 scripts/instructions.sh
}

if [[ ${1-} == full ]]; then
	part "all, raced, three times" scripts/go-test.sh race -shuffle=on -count=3 -timeout=60m ./...
	part "all, at full size" env EXTSYNC_TEST_FULL=1 scripts/go-test.sh plain -v -count=1 -timeout=120m ./...
	part "simulation, hostile expressions, instructions" counts
else
	# Most tests wait for a broker, a database or a disk: more at once than there are processors.
	part "pkg/, raced" scripts/go-test.sh race -shuffle=on -p=3 -parallel=4 -timeout=12m "${raced[@]}"
	beside "simulation, hostile expressions, instructions" counts
	part "all others" scripts/go-test.sh plain -shuffle=on -parallel=6 -count=1 -timeout=25m "${plain[@]}"
	parts_join
	# A browser takes a processor for itself: beside other tests its pages would be slow.
	part "console, in a browser" scripts/go-test.sh plain -shuffle=on -count=1 -timeout=10m ./test/console
fi
part "allocations" some_tests scripts/go-test.sh plain -v -count=1 -run=Allocations "${counted[@]}"
parts_end
