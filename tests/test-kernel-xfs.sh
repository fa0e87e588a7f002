#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# XFS on /dev/nbd0, attached by netlink with four connections, whatever
# befalls the pair: many small files, database transactions and trim see
# no error.
. "$(dirname "$0")/functions.sh"
. tests/kernel-functions.sh

file_system_story xfs -connections 4
