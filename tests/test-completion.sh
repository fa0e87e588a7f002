#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bash completes what duetctl takes: in a real shell, with tab, a command that
# then runs on a real node; and of each kind of word all that there is, no
# less than duetctl --help names and no more than duetctl accepts.
. "$(dirname "$0")/functions.sh"
require_command script

. docs/packaging/duetctl.bash-completion

# offers WORD...: what tab offers for the last of these words, one a line.
# A user's shell goes on after errors.
offers ()
{
  (
    set +eE
    trap - ERR
    COMP_WORDS=(duetctl "$@")
    COMP_CWORD=$#
    COMPREPLY=()
    _duetctl
    printf '%s\n' "${COMPREPLY[@]}"
  )
}

# expect EXPECTED WORD...: it offers just these, in this order.
expect ()
{
  local found
  found=$(offers "${@:2}" | tr '\n' ' ')
  [ "${found% }" = "$1" ] || fail "for '${*:2}': '${found% }', not '$1'"
}

expect 'switchover' sw
expect 'resync resize resume' res
expect 'promote pause' -s "$dir/a.ctl" p
expect 'backup' wait b
expect '' wait backup ''
expect '--timeout=' wait --t
expect 'this peer other' switchover --to ''
expect 'peer' switchover --to = p
expect 'this peer other' switchover --to =
expect '--to=' switchover --to
expect '--full' resync --f
expect '' verify --full
expect '--repair --rate=' -s x verify --r
expect 'discard dump-meta' --socket = "$dir/a.ctl" d
expect '--json' dump-meta --j

# All that there is; the summary's words stand at the left margin but two.
"$DUETCTL" --help > "$dir/help"
sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p' "$dir/help" | sort \
  > "$dir/commands"
[ "$(wc -l < "$dir/commands")" -ge 11 ] || fail "$(cat "$dir/commands")"
offers '' | sort | cmp - "$dir/commands" || fail "$(offers '')"
sed -n 's/^  .*\(--[a-z-]*\).*/\1/p' "$dir/help" | sort -u > "$dir/options"
while read -r command; do
  offers "$command" -- | sed 's/=$//'
done < "$dir/commands" | sort -u > "$dir/offered"
cmp "$dir/offered" "$dir/options" ||
  fail "$(diff "$dir/offered" "$dir/options")"

# None that the command does not take.
while read -r command; do
  for option in $(offers "$command" --); do
    case $option in
      --help | --version | --socket=) continue ;;
      --to=) option+=peer ;;
      *=) option+=1 ;;
    esac
    words=("$command")
    [ "$command" != wait ] || words+=(solo)
    [ "$command" != resize ] || words+=(1T)
    [ "$command" != dump-meta ] || words+=("$dir/none")
    status=0
    "$DUETCTL" -s "$dir/none" "${words[@]}" "$option" 2> "$dir/says" ||
      status=$?
    ! grep -q 'not for this command\|--help' "$dir/says" ||
      fail "$command $option: $(cat "$dir/says")"
  done
done < "$dir/commands"

# Sockets for -s and files for dump-meta, of what is there.
start_node a
mkdir "$dir/folder"
expect "$dir/a.ctl" -s "$dir/a."
expect "$dir/folder" --socket = "$dir/fo"
expect "$dir/a.img.duet" dump-meta "$dir/a.img."

# A shell and a terminal of its own.
mkfifo "$dir/keys"
TERM=dumb script -qefc 'bash --norc --noprofile -i' "$dir/screen" \
  < "$dir/keys" > "$dir/script.out" 2>&1 &
tracked+=($!)
exec 3> "$dir/keys"
echo "PATH=$BUILD:\$PATH" >&3
echo ". docs/packaging/duetctl.bash-completion; echo re''ady" >&3
wait_for 20 "grep -q 'ready' '$dir/screen'" || fail "$(cat "$dir/screen")"
printf 'duetctl -s %s/a.c\tstat\t--j\t\n' "$dir" >&3
wait_for 20 "grep -q '\"state\": \"waiting\"' '$dir/screen'" ||
  fail "$(cat "$dir/screen")"
printf 'duetctl dump-m\t%s/a.img.d\t\n' "$dir" >&3
wait_for 20 "grep -q 'in use by a running node' '$dir/screen'" ||
  fail "$(cat "$dir/screen")"
echo exit >&3
exec 3>&-
