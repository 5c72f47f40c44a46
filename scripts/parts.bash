# For scripts that consist of parts: source it, call `part` for each, and
# `parts_end` last. Every part runs, also after one that failed; the end says how
# long each took, which failed and by what, and what could not be checked.
began=$SECONDS
took=()
failed=()
repeat=()
unchecked=()
# What the parts printed is kept until the end, which repeats what failed in it.
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# Tests that have to leave something out write it there, a line each.
export EXTSYNC_NOT_CHECKED
EXTSYNC_NOT_CHECKED=$(mktemp)

# outlives PID: waits for who writes the log, but not for long: a process that a part has left
# behind may hold its output open for ever.
outlives() {
	local n
	for ((n = 0; n < 50; n++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.1
	done
	kill "$1" 2>/dev/null
}

# part NAME COMMAND...: runs a part.
part() {
	local name=$1 start=$SECONDS open=${#unchecked[@]} result=ok log=$logs/${#took[@]} writer
	shift
	echo "== $name"
	# In a group: of a program alone the shell would not know who writes its log.
	{ writer=$! && "$@"; } > >(tee "$log") 2>&1 || result=FAILED
	outlives "$writer"
	if [[ $result == FAILED ]]; then
		failed+=("$name")
		repeat+=("$name" "$log")
	elif [[ ${#unchecked[@]} -gt $open ]]; then
		result=open
	fi
	took+=("$(printf '%5d s  %-6s  %s' $((SECONDS - start)) "$result" "$name")")
}

# beside NAME COMMAND...: begins a part that runs beside those that follow, until parts_join.
# Its output comes when it has ended.
besides=()
beside() {
	local name=$1 dir
	shift
	dir=$(mktemp -d)
	echo "== $name: begun, beside what follows"
	set -m # a group of its own: whoever interrupts us ends all of it
	(
		start=$SECONDS code=0
		"$@" >"$dir/out" 2>&1 || code=$?
		echo "$((SECONDS - start)) $code" >"$dir/ended"
	) &
	set +m
	besides+=("$!" "$dir" "$name")
	trap 'end_besides; exit 130' INT TERM
}

end_besides() {
	local i
	for ((i = 0; i < ${#besides[@]}; i += 3)); do
		kill -TERM -- "-${besides[i]}" 2>/dev/null
	done
}

# parts_join: waits for what was begun beside, and takes it in.
parts_join() {
	local pid dir name seconds code result
	while [[ ${#besides[@]} -gt 0 ]]; do
		pid=${besides[0]} dir=${besides[1]} name=${besides[2]} seconds=0 code=1 result=ok
		besides=("${besides[@]:3}")
		wait "$pid"
		read -r seconds code <"$dir/ended"
		echo "== $name"
		tee "$logs/${#took[@]}" <"$dir/out"
		rm -rf "$dir"
		if [[ $code -ne 0 ]]; then
			result=FAILED
			failed+=("$name")
			repeat+=("$name" "$logs/${#took[@]}")
		fi
		took+=("$(printf '%5d s  %-6s  %s' "$seconds" "$result" "$name")")
	done
}

# not_checked WHAT: within a part, says at the end what stays open.
not_checked() { unchecked+=("$1"); }

# some_tests COMMAND...: runs `go test -v`, and fails, too, if that finds no test.
some_tests() {
	local out
	out=$(mktemp)
	"$@" | tee "$out"
	local code=${PIPESTATUS[0]}
	if [[ $code -eq 0 ]] && ! grep -q '^--- PASS' "$out"; then
		echo "No test was found: $*" >&2
		code=1
	fi
	rm -f "$out"
	return "$code"
}

# what_failed prints of a log what each test that failed, or did not end, has said, 80 lines at
# most: the rest is further up.
what_failed() {
	grep -av '"level":"' "$1" | grep -aE -B15 -A12 '^ *--- FAIL|^panic: |^FAIL\s|^# |^running tests:' | cut -c1-300 | head -80
}

# parts_end: prints the summary, and fails if a part has failed.
parts_end() {
	local line
	parts_join
	while IFS= read -r line; do unchecked+=("$line"); done <"$EXTSYNC_NOT_CHECKED"
	rm -f "$EXTSYNC_NOT_CHECKED"
	echo "== ${0##*/}: $((SECONDS - began)) s"
	printf '%s\n' "${took[@]}"
	[[ ${#unchecked[@]} -eq 0 ]] || printf 'NOT CHECKED: %s\n' "${unchecked[@]}"
	while [[ ${#repeat[@]} -gt 0 ]]; do
		echo "== of ${repeat[0]}"
		what_failed "${repeat[1]}"
		repeat=("${repeat[@]:2}")
	done
	[[ ${#failed[@]} -eq 0 ]] || {
		printf 'FAILED: %s\n' "${failed[@]}" >&2
		return 1
	}
}
