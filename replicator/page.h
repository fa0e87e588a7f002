/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * page.h: page.html as the build has put it into the program.
 */
#ifndef DUET_PAGE_H
#define DUET_PAGE_H

#include <stddef.h>

extern const char page_html[];
extern const size_t page_length;
/* Content-Security-Policy: the page's own style and script, by their
 * hashes, and requests to where it came from; nothing else.
 */
extern const char page_policy[];

#endif /* DUET_PAGE_H */
