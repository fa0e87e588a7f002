/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls-context.c: the keys of TLS, read once at the start, and the decision
 * whether the other side is the peer.
 *
 * With a pre-shared key, who has the key is the peer.  The file has lines
 * NAME:KEY, as psktool makes them, each with a name of its own; the dialler
 * shows the first, the acceptor takes any, so that a new key can be brought
 * in: append it on both nodes, then make it the first.
 *
 * With certificates, the peer's must be signed (through others that it
 * sends, if need be) by one of tls-ca=, be valid now, and be for the host
 * of peer= or for tls-name=, whoever dialled: a DNS name or, when the host
 * is a number, an IP address among its subject alternative names.  So a
 * certificate of the same CA for another machine is not enough.  What it
 * may be used for (extended key usage) and revocation are not looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gnutls/x509.h>

#include "address.h"
#include "fileio.h"
#include "tls-internal.h"

enum {
  FILE_MAX = 64 * 1024,
  KEYS_MAX = 16,
  KEY_MAX = 64, /* GnuTLS's own limit */
  NAME_MAX_PSK = 128,
};

/* AES first: GnuTLS puts ChaCha20 before AES-128, and a pre-shared key goes
 * with one of these two; where the processor knows AES, as servers' do, that
 * is several times faster.
 */
#define CIPHERS                                                         \
  "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+AES-256-GCM:+AES-128-GCM" \
  ":+CHACHA20-POLY1305"

struct psk {
  char name[NAME_MAX_PSK];
  uint8_t bytes[KEY_MAX];
  unsigned length;
};

struct tls_context {
  gnutls_priority_t priority;
  gnutls_certificate_credentials_t certificate; /* NULL: by key */
  gnutls_psk_client_credentials_t dialler;
  gnutls_psk_server_credentials_t acceptor;
  char name[ADDRESS_HOST_MAX + 1]; /* the certificate's */
  char wrong_name[ADDRESS_HOST_MAX + 64];
  unsigned keys_count;
  struct psk keys[KEYS_MAX];
};

/* A file in memory, with a zero byte behind it. */
struct text {
  char bytes[FILE_MAX + 1];
  size_t length;
};

/* ------------------------------------------------------------ parameters */

bool
tls_is_wanted (const struct tls_config *config)
{
  return config->psk != NULL || config->ca != NULL || config->cert != NULL ||
    config->key != NULL;
}

int
tls_check (const struct tls_config *config, char *error, size_t error_size)
{
  bool x509 = config->ca != NULL || config->cert != NULL || config->key != NULL;
  const char *missing = config->ca == NULL ? "tls-ca"
    : config->cert == NULL                 ? "tls-cert"
    : config->key == NULL                  ? "tls-key"
                                           : NULL;

  if (config->psk != NULL && x509)
    snprintf (error, error_size,
              "tls-psk= stands alone: a link has either a key or "
              "certificates (tls-ca=, tls-cert=, tls-key=)");
  else if (x509 && missing != NULL)
    snprintf (error, error_size,
              "%s= is missing: certificates need tls-ca=, tls-cert= and "
              "tls-key=",
              missing);
  else if (config->name != NULL && !x509)
    snprintf (error, error_size,
              "tls-name= is for certificates: tls-ca=, tls-cert= and "
              "tls-key= are missing");
  else
    return 0;
  return -1;
}

/* ----------------------------------------------------------------- files */

/* WHICH is the parameter.  SECRET: not for everybody. */
static int
read_text (const char *which, const char *path, bool secret, struct text *text,
           char *error, size_t error_size)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  const char *wrong = NULL;
  struct stat st;

  if (fd == -1 || fstat (fd, &st) == -1)
    wrong = strerrordesc_np (errno);
  else if (!S_ISREG (st.st_mode))
    wrong = "it is not a file";
  else if (secret && (st.st_mode & S_IRWXO) != 0)
    wrong = "everybody may read or write it, which a key must not allow: "
            "chmod o= it";
  else if (st.st_size > FILE_MAX)
    wrong = "it is too long";
  else {
    int64_t length = fileio_read_up_to (fd, text->bytes, FILE_MAX, 0);

    if (length == -1)
      wrong = strerrordesc_np (errno);
    text->length = length == -1 ? 0 : (size_t) length;
    text->bytes[text->length] = '\0';
  }
  if (fd != -1)
    close (fd);
  if (wrong == NULL)
    return 0;
  snprintf (error, error_size, "%s=%s: %s", which, path, wrong);
  return -1;
}

static int
hex_digit (char c)
{
  const char *digits = "0123456789abcdef";
  const char *found = c != '\0' ? strchr (digits, c | 0x20) : NULL;

  return found != NULL ? (int) (found - digits) : -1;
}

/* NULL, or what is wrong with the line NAME:KEY. */
static const char *
parse_key (const char *line, struct psk *psk)
{
  const char *colon = strchr (line, ':');
  const char *hex;

  if (colon == NULL || colon == line)
    return "write NAME:KEY, the key in hexadecimal digits";
  if ((size_t) (colon - line) >= sizeof psk->name)
    return "the name is too long";
  memcpy (psk->name, line, (size_t) (colon - line));
  psk->name[colon - line] = '\0';

  psk->length = 0;
  for (hex = colon + 1; *hex != '\0'; hex += 2) {
    int high = hex_digit (hex[0]);
    int low = high != -1 ? hex_digit (hex[1]) : -1;

    if (low == -1)
      return "the key must be hexadecimal digits, two for each byte";
    if (psk->length == KEY_MAX)
      return "the key is longer than 64 bytes";
    psk->bytes[psk->length++] = (uint8_t) (high << 4 | low);
  }
  return psk->length < TLS_KEY_MIN ? "the key is shorter than 16 bytes" : NULL;
}

static bool
is_named_twice (const struct tls_context *context, const char *name)
{
  for (unsigned i = 0; i < context->keys_count; i++)
    if (strcmp (context->keys[i].name, name) == 0)
      return true;
  return false;
}

static int
parse_keys (struct tls_context *context, const char *path, char *text,
            char *error, size_t error_size)
{
  unsigned number = 0;
  char *line;

  while ((line = strsep (&text, "\n")) != NULL) {
    struct psk *psk = &context->keys[context->keys_count];
    const char *wrong = "more than 16 keys";

    number++;
    line[strcspn (line, "\r")] = '\0';
    if (line[0] == '\0')
      continue;
    if (context->keys_count < KEYS_MAX)
      wrong = parse_key (line, psk);
    if (wrong == NULL && is_named_twice (context, psk->name))
      wrong = "a key of this name is there already";
    if (wrong != NULL) {
      snprintf (error, error_size, "tls-psk=%s: line %u: %s", path, number,
                wrong);
      return -1;
    }
    context->keys_count++;
  }
  if (context->keys_count > 0)
    return 0;
  snprintf (error, error_size, "tls-psk=%s: there is no key in it", path);
  return -1;
}

/* ----------------------------------------------------------- pre-shared */

/* Called by GnuTLS for the acceptor: the key of NAME, in its own memory.
 * 1: there is none, and GnuTLS goes on with a random one.
 */
static int
on_name (gnutls_session_t session, const char *name, gnutls_datum_t *key)
{
  const struct tls_context *context = gnutls_session_get_ptr (session);

  for (unsigned i = 0; i < context->keys_count; i++) {
    const struct psk *psk = &context->keys[i];

    if (strcmp (psk->name, name) != 0)
      continue;
    key->data = gnutls_malloc (psk->length);
    if (key->data == NULL)
      return -1;
    memcpy (key->data, psk->bytes, psk->length);
    key->size = psk->length;
    return 0;
  }
  return 1;
}

static int
load_psk (struct tls_context *context, const struct tls_config *config,
          struct text *text, char *error, size_t error_size)
{
  gnutls_datum_t key;
  int r;

  if (read_text ("tls-psk", config->psk, true, text, error, error_size) == -1 ||
      parse_keys (context, config->psk, text->bytes, error, error_size) == -1)
    return -1;
  key = (gnutls_datum_t){ context->keys[0].bytes, context->keys[0].length };
  r = gnutls_psk_allocate_client_credentials (&context->dialler);
  if (r == 0)
    r = gnutls_psk_set_client_credentials (
      context->dialler, context->keys[0].name, &key, GNUTLS_PSK_KEY_RAW);
  if (r == 0)
    r = gnutls_psk_allocate_server_credentials (&context->acceptor);
  if (r != 0) {
    snprintf (error, error_size, "tls-psk=%s: %s", config->psk,
              gnutls_strerror (r));
    return -1;
  }
  gnutls_psk_set_server_credentials_function (context->acceptor, on_name);
  return 0;
}

/* ---------------------------------------------------------- certificates */

static int
load_trust (struct tls_context *context, const struct tls_config *config,
            struct text *text, char *error, size_t error_size)
{
  gnutls_datum_t datum;
  int count;

  if (read_text ("tls-ca", config->ca, false, text, error, error_size) == -1)
    return -1;
  datum = (gnutls_datum_t){ (unsigned char *) text->bytes,
                            (unsigned) text->length };
  count = gnutls_certificate_set_x509_trust_mem (context->certificate, &datum,
                                                 GNUTLS_X509_FMT_PEM);
  if (count > 0)
    return 0;
  snprintf (error, error_size, "tls-ca=%s: no certificate in it (PEM)%s%s",
            config->ca, count < 0 ? ": " : "",
            count < 0 ? gnutls_strerror (count) : "");
  return -1;
}

static int
load_own (struct tls_context *context, const struct tls_config *config,
          struct text *text, struct text *key, char *error, size_t error_size)
{
  gnutls_datum_t cert_datum, key_datum;
  int r;

  if (read_text ("tls-cert", config->cert, false, text, error, error_size) ==
        -1 ||
      read_text ("tls-key", config->key, true, key, error, error_size) == -1)
    return -1;
  cert_datum = (gnutls_datum_t){ (unsigned char *) text->bytes,
                                 (unsigned) text->length };
  key_datum = (gnutls_datum_t){ (unsigned char *) key->bytes,
                                (unsigned) key->length };
  r = gnutls_certificate_set_x509_key_mem (context->certificate, &cert_datum,
                                           &key_datum, GNUTLS_X509_FMT_PEM);
  if (r >= 0)
    return 0;
  if (r == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
    snprintf (error, error_size, "tls-key=%s is not the key of tls-cert=%s",
              config->key, config->cert);
  else
    snprintf (error, error_size, "tls-cert=%s, tls-key=%s: %s", config->cert,
              config->key, gnutls_strerror (r));
  return -1;
}

static int
load_x509 (struct tls_context *context, const struct tls_config *config,
           const char *peer, struct text texts[2], char *error,
           size_t error_size)
{
  if (config->name != NULL && strlen (config->name) > ADDRESS_HOST_MAX) {
    snprintf (error, error_size, "tls-name=%s: it is too long", config->name);
    return -1;
  }
  if (config->name != NULL)
    strcpy (context->name, config->name);
  else
    address_host (peer, context->name);
  snprintf (context->wrong_name, sizeof context->wrong_name,
            "its certificate is not for %s (%s)", context->name,
            config->name != NULL ? "tls-name=" : "the host of peer=");
  if (gnutls_certificate_allocate_credentials (&context->certificate) != 0) {
    context->certificate = NULL;
    snprintf (error, error_size, "out of memory");
    return -1;
  }
  if (load_trust (context, config, &texts[0], error, error_size) == -1)
    return -1;
  return load_own (context, config, &texts[0], &texts[1], error, error_size);
}

/* ----------------------------------------------------------- life cycle */

struct tls_context *
tls_context_new (const struct tls_config *config, const char *peer, char *error,
                 size_t error_size)
{
  const char *priority = config->psk != NULL ? CIPHERS ":-KX-ALL:+ECDHE-PSK"
                                             : CIPHERS;
  struct tls_context *context = calloc (1, sizeof *context);
  struct text *texts = calloc (2, sizeof *texts);
  int r = -1;

  snprintf (error, error_size, "out of memory");
  if (context == NULL || texts == NULL)
    goto out;
  if (gnutls_priority_init (&context->priority, priority, NULL) != 0) {
    context->priority = NULL;
    snprintf (error, error_size,
              "GnuTLS has no TLS 1.3 here, or its configuration forbids it");
    goto out;
  }
  if (config->psk != NULL)
    r = load_psk (context, config, texts, error, error_size);
  else
    r = load_x509 (context, config, peer, texts, error, error_size);

out:
  if (texts != NULL)
    explicit_bzero (texts, 2 * sizeof *texts);
  free (texts);
  if (r == 0)
    return context;
  tls_context_free (context);
  return NULL;
}

void
tls_context_free (struct tls_context *context)
{
  if (context == NULL)
    return;
  if (context->certificate != NULL)
    gnutls_certificate_free_credentials (context->certificate);
  if (context->dialler != NULL)
    gnutls_psk_free_client_credentials (context->dialler);
  if (context->acceptor != NULL)
    gnutls_psk_free_server_credentials (context->acceptor);
  if (context->priority != NULL)
    gnutls_priority_deinit (context->priority);
  explicit_bzero (context->keys, sizeof context->keys);
  free (context);
}

/* ---------------------------------------------------------- a connection */

int
tls_context_apply (const struct tls_context *context, gnutls_session_t session,
                   bool dialler)
{
  int r = gnutls_priority_set (session, context->priority);

  if (r != 0)
    return r;
  if (context->certificate != NULL) {
    gnutls_certificate_server_set_request (session, GNUTLS_CERT_REQUIRE);
    return gnutls_credentials_set (session, GNUTLS_CRD_CERTIFICATE,
                                   context->certificate);
  }
  gnutls_session_set_ptr (session, (void *) (uintptr_t) context);
  if (dialler)
    return gnutls_credentials_set (session, GNUTLS_CRD_PSK, context->dialler);
  return gnutls_credentials_set (session, GNUTLS_CRD_PSK, context->acceptor);
}

static const char *
judge_certificate (const struct tls_context *context, unsigned status,
                   gnutls_alert_description_t *alert)
{
  if ((status & GNUTLS_CERT_SIGNER_NOT_FOUND) != 0) {
    *alert = GNUTLS_A_UNKNOWN_CA;
    return "its certificate is not signed by tls-ca=";
  }
  *alert = GNUTLS_A_CERTIFICATE_EXPIRED;
  if ((status & GNUTLS_CERT_EXPIRED) != 0)
    return "its certificate has expired";
  if ((status & GNUTLS_CERT_NOT_ACTIVATED) != 0)
    return "its certificate is not valid yet";
  *alert = GNUTLS_A_CERTIFICATE_UNKNOWN;
  if ((status & GNUTLS_CERT_UNEXPECTED_OWNER) != 0)
    return context->wrong_name;
  *alert = GNUTLS_A_BAD_CERTIFICATE;
  return "its certificate is not good (signature, algorithm or use)";
}

const char *
tls_context_judge (const struct tls_context *context, gnutls_session_t session,
                   gnutls_alert_description_t *alert)
{
  unsigned status;

  *alert = GNUTLS_A_HANDSHAKE_FAILURE;
  if (context->certificate == NULL)
    return gnutls_kx_get (session) == GNUTLS_KX_ECDHE_PSK
      ? NULL
      : "it has agreed on no pre-shared key";
  if (gnutls_certificate_verify_peers3 (session, context->name, &status) != 0)
    return "its certificate cannot be checked";
  return status == 0 ? NULL : judge_certificate (context, status, alert);
}
