/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * version.h: the release, in the one place that all programs read.
 */
#ifndef DUET_VERSION_H
#define DUET_VERSION_H

#define DUET_VERSION "0.1.0"

#endif /* DUET_VERSION_H */
