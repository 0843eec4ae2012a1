/* tls.h - HTTPS: a certificate and its key from PEM files, TLS 1.2 or newer. */
#ifndef R2I_TLS_H
#define R2I_TLS_H
#include <event2/bufferevent.h>
#include <stdbool.h>

#include "r2lm/status.h"

typedef struct r2i_tls r2i_tls;

/* `key_path` may be NULL: the key lies in the certificate's file.  R2_E_NOT_FOUND, R2_E_IO: a file cannot
 * be read.  R2_E_FORMAT: no PEM, a key with a password, or one that belongs to another certificate. */
R2_CHECKED r2_status r2i_tls_open(r2i_tls **out, const char *cert_path, const char *key_path,
                                  r2_error *err);
/* May be NULL. */
void r2i_tls_close(r2i_tls *tls);
/* A stream that speaks TLS as a server and closes its socket when freed; NULL without memory. */
struct bufferevent *r2i_tls_stream(r2i_tls *tls, struct event_base *base);
/* The handshake is over; true for a stream without TLS. */
bool r2i_tls_is_ready(struct bufferevent *stream);
/* Tells the other side that nothing more comes, so that it does not take the end for an attack. */
void r2i_tls_say_end(struct bufferevent *stream);
#endif
