#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# ext4 on /dev/nbd0, attached by ioctl, whatever befalls the pair: many
# small files, database transactions and trim see no error.
. "$(dirname "$0")/functions.sh"
. tests/kernel-functions.sh

file_system_story ext4 -nonetlink -block-size 4096
