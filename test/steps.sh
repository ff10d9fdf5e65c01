# steps.sh runs the steps of test.sh, counts their tests and says how they
# went. Sourced.

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
passed=0 failed=0
left_out=() failed_steps=()

# step NAME BUDGET COMMAND... runs one step with its output in a log. BUDGET is
# what it may take on two cores with warm caches, in seconds; a step that takes
# longer is shown, and does not fail.
step() {
  local name=$1 budget=$2 log result=ok took cpu
  shift 2
  log=$logs/$(printf '%s' "$name" | tr -c 'a-z0-9' '-')
  # In the background and waited for: set -e does not reach into a command
  # whose status is tested in place.
  (
    TIMEFORMAT='%R %U %S'
    time { ("$@") >"$log" 2>&1 </dev/null; }
  ) 2>"$logs/.time" &
  wait $! || result=FAIL
  read -r took cpu < <(tail -n 1 "$logs/.time" | awk '{ printf "%.1f %.1f\n", $1, $2 + $3 }')
  printf '%s\t%s\t%s\t%s\n' "$took" "$cpu" "$budget" "$name" >>"$logs/.times"
  printf '%-4s  %-34s %6s s\n' "$result" "$name" "$took"
  if [ $result = ok ]; then
    results "$log"
    tally "$log"
  else
    failing "$name" "$log"
  fi
}

# failing shows a failed step's output and remembers it. The other steps go on,
# so that one run shows all that is broken.
failing() {
  local before=$failed
  failed_steps+=("$1")
  printf '\n'
  cat "$2"
  tally "$2"
  [ "$failed" -gt "$before" ] || failed=$((failed + 1)) # it broke outside of a test
}

# results shows what a passed step's tests say of themselves.
results() { { grep -hE '^(ok  |--- [A-Z]+: [^/]*$|DONE |(#|ℹ) (tests|pass|fail) |.*(\| all \||none lost|named exactly))' "$1" || true; } | sed 's/^/      /'; }

# tally adds the counts of gotestsum ("DONE 9 tests, 1 skipped, 1 failure in
# 1s") and of node --test ("# pass 9", "# fail 0") to the sums.
tally() {
  local p f
  read -r p f < <(awk '
    /^DONE [0-9]+ tests?/ {
      n = $2; s = 0; x = 0
      for (i = 3; i < NF; i++) { if ($(i + 1) ~ /^skipped/) s = $i; if ($(i + 1) ~ /^failure/) x = $i }
      p += n - s - x; f += x
    }
    /^(#|ℹ) pass [0-9]+$/ { p += $3 }
    /^(#|ℹ) fail [0-9]+$/ { f += $3 }
    END { print p + 0, f + 0 }' "$1")
  passed=$((passed + p)) failed=$((failed + f))
}

# leave_out WHAT REASON notes what cannot run on this machine. With CI=true that
# fails.
leave_out() {
  left_out+=("$1: $2")
  printf 'LEFT OUT  %s: %s\n' "$1" "$2"
}

# finish sums up and reports whether all went well.
finish() {
  local line
  if [ -s "$logs/.times" ]; then
    printf '\nSlowest steps (seconds, of the CPUs, of their budget):\n'
    sort -rn "$logs/.times" | awk -F '\t' '
      NR <= 12 || ($1 > $3) { printf "  %6.1f %6.1f of %4d  %s%s\n", $1, $2, $3, $4, ($1 > $3 ? "  (over)" : "") }
      { wall += $1; cpu += $2; budget += $3 }
      END { printf "  %6.1f %6.1f of %4d  all\n", wall, cpu, budget }'
  fi
  for line in ${left_out[@]+"${left_out[@]}"}; do printf '\nLEFT OUT  %s\n' "$line"; done
  for line in ${failed_steps[@]+"${failed_steps[@]}"}; do printf '\nFAIL  %s\n' "$line"; done
  printf '\n%d passed, %d failed\n' "$passed" "$failed"
  [ ${#failed_steps[@]} = 0 ] && { [ ${#left_out[@]} = 0 ] || [ "${CI:-}" != true ]; }
}
