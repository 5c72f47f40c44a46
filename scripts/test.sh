#!/usr/bin/env bash
# Runs the tests: `test.sh` at the size that fits into `make test`, `test.sh full`
# all of them raced and three times over, and once more at full size.
set -uo pipefail
cd "$(dirname "$0")/.."
source scripts/parts.bash

go=${GO:-go}
# The engine is raced. Not what brings a library for a database, a queue or a protocol: most of its
# time is theirs, and to build them raced takes longer than to test. Nor what only computes.
# make test-full races all.
mapfile -t unraced < <("$go" list ./pkg/{extsync,outbox,render,schema,internal/jq,delivery/internal/sim} \
	./pkg/connectors/conn{ectortest,amqp,caldav,file,http,kafka,mqtt,nats,redis,s3,sql}/...)
mapfile -t raced < <("$go" list ./pkg/... | grep -vxFf <(printf '%s\n' "${unraced[@]}"))
# These run the built programs, which the test cache does not know of: never cached. What takes
# longest begins first. The simulation has a part of its own.
mapfile -t plain < <(printf '%s\n' "${unraced[@]}" | grep -v '/sim$')
plain=(./test/integration/... ./internal/httpapi "${plain[@]}" ./bench/... ./cmd/... ./examples/... ./internal/...)
# A minute, in which nothing else of its process may allocate.
memory='^TestMemoryIsFlatUnderLoad$'
# The race detector allocates, too.
counted=(./pkg/delivery/... ./pkg/connectors/connhttp ./pkg/connectors/connsql)

# What only computes: beside other tests it takes what they leave.
counts() {
	nice -n 10 scripts/go-test.sh plain -v -count=1 -timeout=20m ./pkg/delivery/internal/sim && nice -n 10 scripts/instructions.sh
}

if [[ ${1-} == full ]]; then
	part "all, raced, three times" scripts/go-test.sh race -shuffle=on -count=3 -timeout=60m ./...
	part "all, at full size" env EXTSYNC_TEST_FULL=1 scripts/go-test.sh plain -v -count=1 -timeout=120m ./...
	part "simulation, instructions" counts
else
	# Most tests wait for a broker, a database or a disk: more at once than there are processors.
	part "pkg/, raced" scripts/go-test.sh race -shuffle=on -p=3 -parallel=4 -timeout=12m "${raced[@]}"
	beside "simulation, instructions" counts
	part "all others" scripts/go-test.sh plain -shuffle=on -parallel=4 -count=1 -timeout=18m "${plain[@]}"
	parts_join
	# A browser takes a processor for itself: beside other parts its pages would be slow. Half of the
	# time a page waits for what it has asked for.
	beside "a minute of the console's memory" scripts/go-test.sh plain -v -count=1 -timeout=5m -run="$memory" ./test/console
	part "console, in a browser" scripts/go-test.sh plain -shuffle=on -parallel=3 -count=1 -timeout=10m -skip="$memory" ./test/console
fi
part "allocations" some_tests scripts/go-test.sh plain -v -count=1 -run=Allocations "${counted[@]}"
parts_end
