#!/usr/bin/env bash
# Counts the instructions of each step of an update's way through publisher and
# worker (the benchmarks called BenchmarkHotPath) and compares them with those in
# bench/hotpath/instructions.txt. It fails when a step takes over a tenth more.
# Counts repeat to within some hundredths on any machine, however busy, unlike
# times; they depend on the version of Go. `instructions.sh accept` writes the file
# anew.
set -euo pipefail
cd "$(dirname "$0")/.."

go=${GO:-go}
file=bench/hotpath/instructions.txt
packages=(./bench/hotpath ./pkg/connectors/connhttp)
percent=10

if ! command -v valgrind >/dev/null || [[ $(uname -sm) != "Linux x86_64" ]]; then
	echo "NOTE: instructions are NOT COUNTED: that needs valgrind on Linux on x86-64 (scripts/test-deps.sh installs it)." >&2
	exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run PROGRAM STEP N prints how many instructions a process takes that runs a step
# N times. One thread, no garbage collection, and none of the instructions that
# only some CPUs have.
run() {
	GOMAXPROCS=1 GOGC=off GODEBUG=asyncpreemptoff=1,cpu.all=off \
		valgrind --tool=callgrind --callgrind-out-file=/dev/null "$1" \
		-test.run='^$' -test.bench="^BenchmarkHotPath\$/^$2\$" -test.benchtime="$3x" 2>&1 |
		awk '/Collected/ { print $NF; found = 1 } END { exit !found }'
}

# count PROGRAM STEP prints step and instructions for one run of it: what a
# two thousand more of them add.
count() {
	local few many
	few=$(run "$1" "$2" 200)
	many=$(run "$1" "$2" 2200)
	echo "$2 $(((many - few) / 2000))"
}
export -f run count

for package in "${packages[@]}"; do
	program=$work/$(basename "$package").test
	CGO_ENABLED=0 "$go" test -c -trimpath -o "$program" "$package"
	GOMAXPROCS=1 "$program" -test.run='^$' -test.bench='^BenchmarkHotPath$' -test.benchtime=1x |
		awk -v program="$program" 'sub("^BenchmarkHotPath/", "") { print program, $1 }'
done >"$work/steps"
xargs -P "$(nproc)" -L 1 bash -c 'set -euo pipefail; count "$1" "$2"' count <"$work/steps" | sort >"$work/counts"

if [[ ${1:-} == accept ]]; then
	{
		echo "# Instructions of one run of each step, with $("$go" env GOVERSION). make instructions compares, make instructions-accept writes."
		cat "$work/counts"
	} >"$file"
	cat "$file"
	exit 0
fi

awk -v percent="$percent" -v file="$file" '
	FNR == NR { if ($1 != "#") was[$1] = $2; else print substr($0, 3); next }
	!($1 in was) { printf "%-24s %9d, not in %s\n", $1, $2, file; bad = 1; next }
	{
		change = 100 * ($2 - was[$1]) / was[$1]
		note = change > percent ? "  MORE than before" : change < -percent ? "  less than before: accept it, so that it stays" : ""
		printf "%-24s %9d, was %9d (%+.1f %%)%s\n", $1, $2, was[$1], change, note
		if (change > percent) bad = 1
		delete was[$1]
	}
	END {
		for (step in was) { print step " is gone"; bad = 1 }
		if (bad) {
			print "\nA step of the hot path takes over " percent " % more instructions, or there is no figure for it. See why (go test -bench=HotPath -cpuprofile), or accept it:\n    make instructions-accept"
			exit 1
		}
	}' "$file" "$work/counts"
