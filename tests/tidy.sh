#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# tidy.sh: the house rules that a program can check.  `make tidy` runs it
# with SOURCES (every .c that the Makefile builds) and PURE (the objects
# of the pure files).  It says all that is wrong, not only the first, and
# changes nothing.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

file_lines_max=750
function_lines_max=70
columns_max=80

# What a pure object may import besides what other pure objects define:
# memory and strings, assertions, checksums.  No system calls, no clock,
# no threads, no output.
pure_imports='
  memcmp memcpy memmove memset memchr
  strchr strcmp strcpy strcspn strlen strncmp strnlen strrchr strspn strstr
  qsort bsearch calloc free
  __assert_fail abort
  __popcountdi2
  crc32_iscsi XXH[0-9A-Za-z_]*
  _GLOBAL_OFFSET_TABLE_ __stack_chk_fail
  __(asan|ubsan|tsan)_.*'
# Only these may also make text.
text_objects='wire exportname'
text_imports='snprintf __snprintf_chk'

faults=0

complain ()
{
  echo "tidy: $*"
  faults=$((faults + 1))
}

# Complain about each line of the input.
complain_lines ()
{
  local line
  while IFS= read -r line; do
    complain "$line"
  done
}

mapfile -t c_files < <(find include replicator nbdkit-plugin tests bench \
                            -name '*.[ch]' | sort)
mapfile -t scripts < <(find nbdkit-plugin tests bench -name '*.sh' | sort
                       echo .ci/run)
mapfile -t python_files < <(find bench tests -name '*.py' | sort)
files=("${c_files[@]}" "${scripts[@]}" "${python_files[@]}" Makefile)

# ---------------------------------------------------------------- layout

for file in "${c_files[@]}"; do
  if ! clang-format --dry-run -Werror "$file" 2> /dev/null; then
    complain "$file: clang-format -i would change it"
  fi
done

complain_lines < <(
  awk -v max=$columns_max '
    length ($0) > max { print FILENAME ":" FNR ": " length ($0) " columns" }
    /[ \t]$/ { print FILENAME ":" FNR ": blanks at the end" }
    FILENAME != "Makefile" && /\t/ { print FILENAME ":" FNR ": a tab" }
    /(TODO|FIXME|XXX)[: (]/ && FILENAME != "tests/tidy.sh" {
      print FILENAME ":" FNR ": unfinished business"
    }' "${files[@]}")

for file in "${files[@]}" .clang-format .gitignore; do
  head -n 2 "$file" | grep -q 'SPDX-License-Identifier: BSD-3-Clause' ||
    complain "$file: no SPDX line at the top"
done

for file in "${scripts[@]}"; do
  complain_lines < <(bash -n "$file" 2>&1)
done

# The test's status would be that of the trap's first command.
complain_lines < <(
  grep -nE '^ *trap .*EXIT' tests/test-*.sh /dev/null |
    sed 's/\(:[0-9]*\):.*/\1: a trap of its own: use at_exit, before_kills/')

# --------------------------------------------------------------- lengths

for file in "${c_files[@]}" "${scripts[@]}" "${python_files[@]}"; do
  lines=$(wc -l < "$file")
  [ "$lines" -le $file_lines_max ] || complain "$file: $lines lines"
done

# A function is what stands between "{" and "}" at the left margin.
for file in "${c_files[@]}"; do
  case $file in tests/*) continue ;; esac
  complain_lines < <(
    awk -v max=$function_lines_max '
      /^[a-z_].*\(/ { name = $1 }
      /^\{/ { start = FNR }
      /^\}/ && start {
        if (FNR - start + 1 > max)
          print FILENAME ":" start ": " name " () has " FNR - start + 1 " lines"
        start = 0
      }' "$file")
done

# ------------------------------------------------------------ dead files

for file in "${c_files[@]}"; do
  case $file in
    *.c)
      [[ " $SOURCES " == *" $file "* ]] ||
        complain "$file: not in the Makefile"
      ;;
    *.h)
      grep -qF "#include \"$(basename "$file")\"" "${c_files[@]}" ||
        complain "$file: nobody includes it"
      ;;
  esac
done

# ----------------------------------------------------------------- pure

# shellcheck disable=SC2086  # lists, split on purpose
own=$(nm --defined-only -g $PURE | awk 'NF == 3 { print $3 }')
for object in $PURE; do
  name=$(basename "$object" .o)
  allowed="$pure_imports $own"
  [[ " $text_objects " != *" $name "* ]] || allowed+=" $text_imports"
  complain_lines < <(
    nm -u "$object" | awk '{ print $NF }' |
      grep -vxE -f <(tr -s ' \n' '\n' <<< "$allowed" | grep .) |
      sed "s|^|$object: not pure: imports |")
done

[ $faults -gt 0 ] || exit 0
echo "tidy: $faults faults"
exit 1
