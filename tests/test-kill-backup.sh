#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The backup is killed 20 times under load: the client sees no error, and
# in the end both copies are the same and hold all that was answered.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

kill_rounds second 20
