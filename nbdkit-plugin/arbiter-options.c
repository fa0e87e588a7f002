/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * arbiter-options.c: from arbiter=, etcd= and their like to the engine's
 * configuration.  Says what is wrong before anything is opened.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arbiter-options.h"

enum {
  LEASE_MAX_MS = 600000,
  GRACE_MAX_MS = 700000,
  MESSAGE = 256,
};

enum option {
  OPTION_ARBITER,
  OPTION_ETCD,
  OPTION_PREFIX,
  OPTION_USER,
  OPTION_PASSWORD_FILE,
  OPTION_CA,
  OPTION_CERT,
  OPTION_KEY,
  OPTION_LEASE,
  OPTION_GRACE,
  OPTIONS,
};

static const char *const names[OPTIONS] = {
  "arbiter", "etcd",      "etcd-prefix", "etcd-user", "etcd-password-file",
  "etcd-ca", "etcd-cert", "etcd-key",    "lease",     "grace",
};

static const char *etcd_only; /* one that was given and needs arbiter=etcd */
static char *paths[OPTIONS];  /* made absolute */
static uint64_t lease_ms, grace_ms; /* 0: not given */

static enum option
option_of (const char *key)
{
  enum option option = 0;

  while (option < OPTIONS && strcmp (key, names[option]) != 0)
    option++;
  return option;
}

bool
arbiter_is_option (const char *key)
{
  return option_of (key) < OPTIONS;
}

static int
set_arbiter (struct engine_config *config, const char *value)
{
  if (strcmp (value, "client") == 0)
    config->core.arbiter = ARBITER_CLIENT;
  else if (strcmp (value, "etcd") == 0)
    config->core.arbiter = ARBITER_ETCD;
  else {
    nbdkit_error ("arbiter=%s: must be client or etcd", value);
    return -1;
  }
  return 0;
}

static int
check_user (const char *value, char *error, size_t error_size)
{
  if (value[0] != '\0')
    return 0;
  snprintf (error, error_size, "a name is missing");
  return -1;
}

/* A value that CHECK finds good. */
static int
set_text (const char *key, const char *value, const char **to,
          int (*check) (const char *value, char *error, size_t error_size))
{
  char error[MESSAGE];

  if (check (value, error, sizeof error) == -1) {
    nbdkit_error ("%s=%s: %s", key, value, error);
    return -1;
  }
  *to = value;
  return 0;
}

static int
set_path (enum option option, const char *value, const char **to)
{
  if (value[0] == '\0') {
    nbdkit_error ("%s=: a path is missing", names[option]);
    return -1;
  }
  free (paths[option]);
  paths[option] = nbdkit_absolute_path (value);
  *to = paths[option];
  return *to != NULL ? 0 : -1;
}

static int
set_ms (const char *key, const char *value, uint64_t max, uint64_t *ms)
{
  if (nbdkit_parse_uint64_t (key, value, ms) == -1)
    return -1;
  if (*ms >= 1 && *ms <= max)
    return 0;
  nbdkit_error ("%s=%s: must be 1 to %llu milliseconds", key, value,
                (unsigned long long) max);
  return -1;
}

int
arbiter_option (struct engine_config *config, const char *key,
                const char *value)
{
  struct etcd_config *etcd = &config->arbiter.etcd;
  enum option option = option_of (key);

  if (option != OPTION_ARBITER)
    etcd_only = names[option];
  switch (option) {
  case OPTION_ARBITER: return set_arbiter (config, value);
  case OPTION_ETCD: return set_text (key, value, &etcd->urls, etcd_check_urls);
  case OPTION_PREFIX:
    return set_text (key, value, &config->arbiter.prefix, arbiter_check_prefix);
  case OPTION_USER: return set_text (key, value, &etcd->user, check_user);
  case OPTION_PASSWORD_FILE:
    return set_path (option, value, &etcd->password_file);
  case OPTION_CA: return set_path (option, value, &etcd->ca);
  case OPTION_CERT: return set_path (option, value, &etcd->cert);
  case OPTION_KEY: return set_path (option, value, &etcd->cert_key);
  case OPTION_LEASE: return set_ms (key, value, LEASE_MAX_MS, &lease_ms);
  case OPTION_GRACE: return set_ms (key, value, GRACE_MAX_MS, &grace_ms);
  case OPTIONS: break;
  }
  return -1;
}

/* NULL, or what is wrong. */
static const char *
check_together (const struct engine_config *config)
{
  const struct etcd_config *etcd = &config->arbiter.etcd;

  if (etcd->urls == NULL)
    return "arbiter=etcd needs etcd=";
  if (config->core.takeover == TAKEOVER_ANY)
    return "takeover=any is for arbiter=client: with arbiter=etcd it is etcd "
           "that decides";
  if ((etcd->user == NULL) != (etcd->password_file == NULL))
    return "etcd-user= and etcd-password-file= need each other";
  if ((etcd->cert == NULL) != (etcd->cert_key == NULL))
    return "etcd-cert= and etcd-key= need each other";
  if ((etcd->ca != NULL || etcd->cert != NULL) &&
      strstr (etcd->urls, "https://") == NULL)
    return "etcd-ca=, etcd-cert= and etcd-key= need an https:// URL in etcd=";
  return NULL;
}

static int
complete_times (struct engine_config *config)
{
  uint32_t least;

  if (lease_ms == 0)
    lease_ms = ARBITER_LEASE_MS;
  least = core_grace_min ((uint32_t) lease_ms);
  if (grace_ms == 0)
    grace_ms = least;
  if (lease_ms <= config->core.beat_ms) {
    nbdkit_error ("lease=%llu must be above beat=%llu",
                  (unsigned long long) lease_ms,
                  (unsigned long long) config->core.beat_ms);
    return -1;
  }
  if (grace_ms < least) {
    nbdkit_error ("grace=%llu must be at least %u for lease=%llu",
                  (unsigned long long) grace_ms, least,
                  (unsigned long long) lease_ms);
    return -1;
  }
  config->core.lease_ms = (uint32_t) lease_ms;
  config->core.grace_ms = (uint32_t) grace_ms;
  return 0;
}

int
arbiter_complete (struct engine_config *config)
{
  const char *wrong;

  if (config->arbiter.prefix == NULL)
    config->arbiter.prefix = ARBITER_PREFIX;
  if (config->core.arbiter != ARBITER_ETCD) {
    if (etcd_only != NULL)
      nbdkit_error ("%s= needs arbiter=etcd", etcd_only);
    return etcd_only != NULL ? -1 : 0;
  }
  wrong = check_together (config);
  if (wrong != NULL) {
    nbdkit_error ("%s", wrong);
    return -1;
  }
  return complete_times (config);
}

void
arbiter_options_free (void)
{
  for (enum option option = 0; option < OPTIONS; option++)
    free (paths[option]);
}
