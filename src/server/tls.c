#include "server/tls.h"

#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"

/* The library's context under a name of our own: r2i_tls is never more than that pointer. */
static SSL_CTX *context_of(r2i_tls *tls) {
    return (SSL_CTX *)tls;
}

static r2_status check_readable(const char *path, r2_error *err) {
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return r2i_fail(err, errno == ENOENT ? R2_E_NOT_FOUND : R2_E_IO, "%.150s: %s", path,
                        strerror(errno));
    fclose(file);
    return R2_OK;
}

static r2_status fail_with_reason(const char *path, const char *expected, r2_error *err) {
    const char *reason = ERR_reason_error_string(ERR_peek_error()); /* the cause */
    ERR_clear_error();
    return r2i_fail(err, R2_E_FORMAT, "%.120s: expected %s, found: %.60s", path, expected,
                    reason != NULL ? reason : "something else");
}

/* A server cannot ask for a password. */
static int refuse_password(char *out, int cap, int is_writing, void *user) {
    (void)out;
    (void)cap;
    (void)is_writing;
    (void)user;
    return -1;
}

/* Who offers HTTP/2 as well gets 1.1. */
static int pick_protocol(SSL *ssl, const unsigned char **out, unsigned char *n_out,
                         const unsigned char *offered, unsigned n_offered, void *user) {
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *picked = NULL;
    (void)ssl;
    (void)user;
    if (SSL_select_next_proto(&picked, n_out, ours, sizeof ours - 1, offered, n_offered) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = picked;
    return SSL_TLSEXT_ERR_OK;
}

static r2_status load(SSL_CTX *context, const char *cert, const char *key, r2_error *err) {
    R2I_TRY(check_readable(cert, err));
    R2I_TRY(check_readable(key, err));
    if (SSL_CTX_use_certificate_chain_file(context, cert) != 1)
        return fail_with_reason(cert, "certificates in PEM form", err);
    if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        return fail_with_reason(key, "the certificate's key in PEM form without a password", err);
    if (SSL_CTX_check_private_key(context) != 1)
        return fail_with_reason(key, "the key of the certificate", err);
    return R2_OK;
}

r2_status r2i_tls_open(r2i_tls **out, const char *cert_path, const char *key_path, r2_error *err) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    *out = NULL;
    if (context == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for TLS");
    (void)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    (void)SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                           SSL_OP_CIPHER_SERVER_PREFERENCE);
    /* Idle connections give their buffers of 32 KiB back; nothing grows with the number of clients. */
    (void)SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_default_passwd_cb(context, refuse_password);
    SSL_CTX_set_alpn_select_cb(context, pick_protocol, NULL);
    const r2_status status = load(context, cert_path, key_path != NULL ? key_path : cert_path, err);
    if (status != R2_OK)
        SSL_CTX_free(context);
    else
        *out = (r2i_tls *)context;
    return status;
}

void r2i_tls_close(r2i_tls *tls) {
    SSL_CTX_free(context_of(tls));
}

struct bufferevent *r2i_tls_stream(r2i_tls *tls, struct event_base *base) {
    SSL *ssl = SSL_new(context_of(tls));
    if (ssl == NULL || SSL_up_ref(ssl) != 1) return NULL;
    struct bufferevent *stream = bufferevent_openssl_socket_new(
        base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    SSL_free(ssl); /* ours: whether a failure frees the other one depends on where it happens */
    if (stream != NULL) /* many clients just close; lengths and chunks tell us what is complete */
        bufferevent_openssl_set_allow_dirty_shutdown(stream, 1);
    return stream;
}

bool r2i_tls_is_ready(struct bufferevent *stream) {
    SSL *ssl = bufferevent_openssl_get_ssl(stream);
    return ssl == NULL || SSL_is_init_finished(ssl);
}

void r2i_tls_say_end(struct bufferevent *stream) {
    SSL *ssl = bufferevent_openssl_get_ssl(stream);
    if (ssl == NULL || !SSL_is_init_finished(ssl)) return;
    (void)SSL_shutdown(ssl);
    ERR_clear_error();
}
