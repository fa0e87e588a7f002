#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# sim-mutants.sh [--quick] [NAME...]: does the simulator catch the planted
# bugs of tests/mutants.txt?  For each (or those named, or those that the
# list calls quick) the change is made to a copy of the source, the one
# object is compiled and linked with the others into a simulator, and that
# runs seeds until one fails.  Then a table; exit status 1 if a bug
# survived, or could not be planted because its text is not there any
# more, or the simulator without the bug fails at the same seed.
#
# The Makefile says with what to compile and link:
#   COMPILE, LINK   commands, without files
#   OBJECTS, LIBS   of the simulator
#   SOURCES         where a bug may be planted
# BUILD and JOBS as for run.sh; SEEDS: for each mode that a mutant names,
# unless its own line says more.
set -euo pipefail
cd "$(dirname "$0")/.."

list=tests/mutants.txt
build=${BUILD:-build}
work=$build/mutants
seeds_default=${SEEDS:-3000}
jobs=${JOBS:-$(nproc)}

die ()
{
  echo "sim-mutants.sh: $*" >&2
  exit 2
}

# ---------------------------------------------------------------- the list

# Names of all mutants, or of the quick ones, in order.
names ()
{
  awk -v quick="$1" '
    $1 == "mutant" { name = $2; if (!quick) print name }
    $1 == "quick" && quick { print name }' "$list"
}

# Value of a field of a mutant; nothing when it has none.
field ()
{
  awk -v name="$1" -v field="$2" '
    $1 == "mutant" { here = $2 == name }
    here && $1 == field && !/^[-+ ]/ { sub (/^[a-z]+ +/, ""); print; exit }
    ' "$list"
}

# The lines of its change.
change ()
{
  awk -v name="$1" '
    /^mutant / { here = $2 == name }
    here && /^[-+ @]/' "$list"
}

# ------------------------------------------------------------------ planting

old= new= removed= changed= trouble=

# Put NEW where OLD stands, which must be in one place of all sources.
plant ()
{
  local name=$1 source text rest copy found=
  for source in $SOURCES; do
    copy=$work/$name/$(basename "$source")
    text=$'\n'$(cat "$([ -e "$copy" ] && echo "$copy" || echo "$source")")$'\n'
    [[ $text == *"$old"* ]] || continue
    rest=${text#*"$old"}
    if [ -n "$found" ] || [[ $'\n'$rest == *"$old"* ]]; then
      trouble='its text stands in several places'
      return
    fi
    found=$copy
    printf '%s' "${text%%"$old"*}$new$rest" | tail -n +2 > "$copy.new"
  done
  if [ -z "$found" ]; then
    trouble='does not apply: its text is nowhere'
    return
  fi
  mv "$found.new" "$found"
  [[ " $changed " == *" $found "* ]] || changed+=" $found"
}

# A hunk: context and "-" lines are what is there, context and "+" lines
# what shall be.  "@@" stands between hunks.
plant_all ()
{
  local name=$1 line
  old=$'\n' new=$'\n'
  while IFS= read -r line; do
    case ${line:0:1} in
      -) old+=${line:1}$'\n' ;;
      +) new+=${line:1}$'\n' ;;
      ' ') old+=${line:1}$'\n' new+=${line:1}$'\n' ;;
      @)
        plant "$name"
        [ -z "$trouble" ] || return 0
        old=$'\n' new=$'\n'
        ;;
    esac
  done < <(change "$name"; echo '@@')
}

# The words of the compiler are of interest only when it fails.
build ()
{
  local name=$1 file objects=()
  for file in $changed; do
    $COMPILE -w -c -o "${file%.c}.o" "$file" || return
    objects+=("${file%.c}.o")
  done
  # The changed objects come first: their twins in the library are not
  # asked for any more.
  # shellcheck disable=SC2086  # lists, split on purpose
  $LINK -o "$work/$name/sim" "${objects[@]}" $OBJECTS $LIBS
}

# ------------------------------------------------------------------ catching

# MODE SEEDS WHAT of the first failure, or of none, in one line.
hunt ()
{
  local name=$1 mode line seeds tried=0
  seeds=$(field "$name" seeds)
  for mode in $(field "$name" modes); do
    line=$("$work/$name/sim" --brief --jobs 1 --mode "$mode" \
      --seeds "${seeds:-$seeds_default}" | sed -n 's/^FAILED seed //p') || true
    if [ -z "$line" ]; then
      tried=$((tried + ${seeds:-$seeds_default}))
      continue
    fi
    if ! "$build/sim" --brief --mode "$mode" --seed "${line%% *}" \
        > "$work/$name/plain.log"; then
      echo "$mode - FAILS WITHOUT IT: $line"
      return
    fi
    echo "$mode $((tried + ${line%% *})) ${line#*: }"
    return
  done
  echo "- $tried SURVIVED"
}

one ()
{
  local name=$1
  rm -rf "${work:?}/$name"
  mkdir -p "$work/$name"
  plant_all "$name"
  if [ -n "$trouble" ]; then
    echo "- - $trouble"
  elif ! build "$name" > "$work/$name/build.log" 2>&1; then
    echo "- - does not compile: $work/$name/build.log"
  else
    hunt "$name"
    rm -f "$work/$name/sim"
  fi > "$work/$name/result"
}

# ------------------------------------------------------------------ the table

# Lines as "name | rule | mode | seeds | what it was caught by".
table ()
{
  local name mode seeds what caught=0 all=0
  printf '%-26s %-44s %-6s %6s  %s\n' mutant rule mode seeds 'caught by'
  for name; do
    read -r mode seeds what < "$work/$name/result"
    printf '%-26s %-44s %-6s %6s  %s\n' "$name" "$(field "$name" rule)" \
      "$mode" "$seeds" "$what"
    all=$((all + 1))
    case $mode$seeds$what in
      -* | *'FAILS WITHOUT IT'*) ;;
      *) caught=$((caught + 1)) ;;
    esac
  done
  echo "$caught of $all planted bugs caught"
  [ "$caught" -eq "$all" ]
}

case ${1:-} in
  --one)
    one "$2"
    exit
    ;;
  --quick)
    [ $# -eq 1 ] || die 'names and --quick do not go together'
    mapfile -t chosen < <(names 1)
    ;;
  *) mapfile -t chosen < <(names '') ;;
esac
if [ $# -gt 0 ] && [ "$1" != --quick ]; then
  for name; do
    [[ " ${chosen[*]} " == *" $name "* ]] || die "no mutant $name in $list"
  done
  chosen=("$@")
fi
[ "${#chosen[@]}" -gt 0 ] || die "nothing chosen from $list"
[ -n "$(printf '%s\n' "${chosen[@]}" | sort | uniq -d)" ] &&
  die 'two mutants of one name'
printf '%s\0' "${chosen[@]}" | xargs -0 -n 1 -P "$jobs" "$0" --one
table "${chosen[@]}"
