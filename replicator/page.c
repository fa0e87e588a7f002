/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * page.c: the page's bytes, which page.pl makes of page.html.
 */
#include "page.h"

const char page_html[] = {
#include "page.inc"
};

const size_t page_length = sizeof page_html;
const char page_policy[] = PAGE_POLICY;
