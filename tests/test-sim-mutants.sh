#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Some planted bugs, those that the simulator finds soon: it finds them.
# All of them: make sim-mutants.
set -euo pipefail
cd "$(dirname "$0")/.."

exec env -u MAKEFLAGS -u MFLAGS make --no-print-directory \
  sim-mutants-built MUTANTS=--quick JOBS=2 CC="${CC:-gcc}" SAN="${SAN:-}"
