# For scripts that consist of parts: source it, call `part` for each, and
# `parts_end` last. Every part runs, also after one that failed; the end says how
# long each took, which failed, and what could not be checked.
began=$SECONDS
took=()
failed=()
unchecked=()

# part NAME COMMAND...: runs a part.
part() {
	local name=$1 start=$SECONDS open=${#unchecked[@]} result=ok
	shift
	echo "== $name"
	"$@" || result=FAILED
	if [[ $result == FAILED ]]; then
		failed+=("$name")
	elif [[ ${#unchecked[@]} -gt $open ]]; then
		result=open
	fi
	took+=("$(printf '%5d s  %-6s  %s' $((SECONDS - start)) "$result" "$name")")
}

# not_checked WHAT: within a part, says at the end what stays open.
not_checked() { unchecked+=("$1"); }

# parts_end: prints the summary, and fails if a part has failed.
parts_end() {
	echo "== ${0##*/}: $((SECONDS - began)) s"
	printf '%s\n' "${took[@]}"
	[[ ${#unchecked[@]} -eq 0 ]] || printf 'NOT CHECKED: %s\n' "${unchecked[@]}"
	[[ ${#failed[@]} -eq 0 ]] || {
		printf 'FAILED: %s\n' "${failed[@]}" >&2
		return 1
	}
}
