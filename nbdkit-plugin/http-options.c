/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * http-options.c: http= and http-expose=.  Whether the address may be
 * listened at, the server says (http.c).
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <string.h>

#include "http-options.h"
#include "link.h"

enum { MESSAGE = 512 };

bool
http_is_option (const char *key)
{
  return strcmp (key, "http") == 0 || strcmp (key, "http-expose") == 0;
}

int
http_option (struct http_options *options, const char *key, const char *value)
{
  char error[MESSAGE];
  int parsed;

  if (strcmp (key, "http") == 0) {
    if (link_check_address (value, error, sizeof error) == -1) {
      nbdkit_error ("http=%s: %s", value, error);
      return -1;
    }
    options->address = value;
    return 0;
  }
  parsed = nbdkit_parse_bool (value);
  if (parsed == -1) {
    nbdkit_error ("http-expose=%s: must be yes or no", value);
    return -1;
  }
  options->expose = parsed != 0;
  return 0;
}

int
http_complete (const struct http_options *options)
{
  if (!options->expose || options->address != NULL)
    return 0;
  nbdkit_error ("http-expose=yes needs http=");
  return -1;
}
