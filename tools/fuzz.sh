#!/bin/sh
# Fuzzes every target of the module, one after the other.
#
#	tools/fuzz.sh [TIME] [PATTERN]
#
# TIME is for each target (60s); PATTERN is an extended regular expression for the
# names of those to run, such as 'FuzzConfig|FuzzTemplate' (all). What fails is written
# to testdata/fuzz of its package: mend it, and keep the file as a test.
set -u
cd "$(dirname "$0")/.." || exit 2
time=${1:-60s} pattern=${2:-.} failed=0 ran=0
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT TERM

for file in $(grep -rlE --include='*_test.go' '^func Fuzz' . | sort); do
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(f \*testing\.F).*/\1/p' "$file" | grep -E -- "$pattern"); do
		ran=$((ran + 1))
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 5s -parallel "${FUZZ_PARALLEL:-2}" "$(dirname "$file")" >"$log" 2>&1
		status=$?
		execs=$(sed -n 's/.*execs: \([0-9]*\).*/\1/p' "$log" | tail -1)
		# The end of the time within a minimisation is no failure, though go test says so.
		if [ $status -ne 0 ] && ! { grep -q 'context deadline exceeded' "$log" && ! grep -q 'Failing input' "$log"; }; then
			failed=$((failed + 1))
			printf 'FAIL  %s %s\n' "$target" "$file"
			grep -v '^fuzz: ' "$log"
			continue
		fi
		printf 'ok    %-20s %10s executions  %s\n' "$target" "${execs:-0}" "$(dirname "$file")"
	done
done
printf '%d targets, %d failed\n' "$ran" "$failed"
[ "$ran" -gt 0 ] && [ "$failed" -eq 0 ]
