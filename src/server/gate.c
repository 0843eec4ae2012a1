#define _POSIX_C_SOURCE 200809L /* inet_pton */
#include "server/gate.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/failure.h"

bool r2i_crypto_is_ready(void) {
    return OPENSSL_init_crypto(0, NULL) == 1 && OSSL_LIB_CTX_get0_global_default() != NULL;
}

/* Keys are compared by their digests, which have one length and reveal nothing where they differ. */
static bool digest(const char *key, size_t n_bytes, unsigned char out[R2I_DIGEST_BYTES]) {
    unsigned n_out = 0;
    return EVP_Digest(key, n_bytes, out, &n_out, EVP_sha256(), NULL) == 1 &&
           n_out == R2I_DIGEST_BYTES;
}

r2_status r2i_gate_add_key(r2i_gate *g, const char *key, size_t n_bytes, r2_error *err) {
    if (n_bytes == 0 || n_bytes >= R2I_KEY_BYTES)
        return r2i_fail(err, R2_E_RANGE, "API key: expected 1 to %d bytes, found %zu",
                        R2I_KEY_BYTES - 1, n_bytes);
    for (size_t i = 0; i < n_bytes; i++) {
        if (key[i] <= ' ' || key[i] >= 0x7f)
            return r2i_fail(err, R2_E_RANGE,
                            "API key: expected letters, digits and signs without spaces");
    }
    if (g->n_keys == R2I_MAX_KEYS)
        return r2i_fail(err, R2_E_RANGE, "API keys: expected at most %d", R2I_MAX_KEYS);
    if (!digest(key, n_bytes, g->keys[g->n_keys]))
        return r2i_fail(err, R2_E_NOMEM, "no memory for an API key");
    g->n_keys++;
    return R2_OK;
}

static bool has_scheme(r2i_span value, const char *scheme) {
    const size_t n = strlen(scheme);
    return value.text != NULL && value.n_bytes > n &&
           r2i_span_is((r2i_span){ value.text, n }, scheme);
}

int32_t r2i_gate_find_key(const r2i_gate *g, const r2i_wire_head *head) {
    static const char bearer[] = "Bearer ";
    unsigned char given[R2I_DIGEST_BYTES];
    int32_t found = -1;
    r2i_span key = head->api_key;
    if (g->n_keys == 0) return 0;
    if (has_scheme(head->authorization, bearer)) {
        key = (r2i_span){ head->authorization.text + sizeof bearer - 1,
                          head->authorization.n_bytes - (sizeof bearer - 1) };
    }
    if (key.text == NULL || !digest(key.text, key.n_bytes, given)) return -1;
    for (int32_t i = 0; i < g->n_keys; i++)
        found = CRYPTO_memcmp(given, g->keys[i], sizeof given) == 0 ? i + 1 : found;
    return found;
}

/* ---- names ---- */

bool r2i_host_is_loopback(const char *host) {
    return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "localhost") == 0;
}

/* "[::1]:8080", "localhost:8080", "127.0.0.1" without port and brackets. */
static bool split_host(r2i_span host, char *out, size_t cap) {
    const char *begin = host.text, *end = host.text + host.n_bytes, *port;
    if (host.n_bytes == 0) return false;
    if (*begin == '[') {
        const char *close = memchr(begin, ']', host.n_bytes);
        if (close == NULL) return false;
        port = close + 1;
        begin++;
        end = close;
    } else {
        const char *colon = memchr(begin, ':', host.n_bytes);
        port = colon != NULL ? colon : end;
        end = port;
    }
    const char *last = host.text + host.n_bytes;
    if (port < last && *port++ != ':') return false;
    for (; port < last; port++) {
        if (*port < '0' || *port > '9') return false;
    }
    if (end == begin || (size_t)(end - begin) >= cap) return false;
    memcpy(out, begin, (size_t)(end - begin));
    out[end - begin] = '\0';
    return true;
}

static bool is_address(const char *name) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

bool r2i_gate_host_is_ours(const r2i_gate *g, r2i_span host) {
    char name[256];
    if (host.text == NULL) return true; /* HTTP/1.0; a browser always sends one */
    if (!split_host(host, name, sizeof name)) return false;
    const r2i_span span = { name, strlen(name) };
    if (r2i_span_is(span, "localhost") || r2i_host_is_loopback(name)) return true;
    if (r2i_span_is(span, g->bind_host)) return true;
    for (int32_t i = 0; i < g->n_hosts; i++) {
        if (r2i_span_is(span, g->hosts[i])) return true;
    }
    /* Listening everywhere: an address cannot be somebody else's name. */
    return (strcmp(g->bind_host, "0.0.0.0") == 0 || strcmp(g->bind_host, "::") == 0) &&
           is_address(name);
}

bool r2i_gate_origin_is_added(const r2i_gate *g, r2i_span origin) {
    for (int32_t i = 0; i < g->n_origins; i++) {
        if (origin.text != NULL && r2i_span_is(origin, g->origins[i])) return true;
    }
    return false;
}

bool r2i_gate_origin_is_ours(const r2i_gate *g, const r2i_wire_head *head) {
    const char *scheme = g->is_tls ? "https://" : "http://";
    const size_t n = strlen(scheme);
    const r2i_span origin = head->origin;
    if (origin.text == NULL || r2i_gate_origin_is_added(g, origin)) return true;
    if (!has_scheme(origin, scheme)) return false;
    const r2i_span host = { origin.text + n, origin.n_bytes - n };
    return head->host.text != NULL && host.n_bytes == head->host.n_bytes &&
           memcmp(host.text, head->host.text, host.n_bytes) == 0 && r2i_gate_host_is_ours(g, host);
}

/* ---- what the server's owner allows ---- */

static bool is_plain_name(const char *text, size_t n_bytes) {
    static const char others[] = "0123456789-._:";
    if (n_bytes == 0 || n_bytes > 255) return false;
    for (size_t i = 0; i < n_bytes; i++) {
        const char c = (char)(text[i] | 0x20);
        if ((c < 'a' || c > 'z') && (text[i] == '\0' || strchr(others, text[i]) == NULL))
            return false;
    }
    return true;
}

r2_status r2i_gate_add_host(r2i_gate *g, const char *host, r2_error *err) {
    const bool has_port = strchr(host, ':') != NULL && !is_address(host);
    if (!is_plain_name(host, strlen(host)) || has_port)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "allowed host %.80s: expected a name or address without port", host);
    if (g->n_hosts == R2I_MAX_HOSTS)
        return r2i_fail(err, R2_E_RANGE, "allowed hosts: expected at most %d", R2I_MAX_HOSTS);
    g->hosts[g->n_hosts++] = host;
    return R2_OK;
}

r2_status r2i_gate_add_origin(r2i_gate *g, const char *origin, r2_error *err) {
    const char *name = strstr(origin, "://");
    if (name != NULL) name += 3;
    const bool has_brackets = name != NULL && *name == '[';
    const char *close = has_brackets ? strchr(name, ']') : NULL;
    const bool is_good =
        name != NULL && is_plain_name(origin, (size_t)(name - origin) - 3) &&
        (has_brackets ? close != NULL && is_plain_name(name + 1, (size_t)(close - name) - 1) &&
                            (close[1] == '\0' || is_plain_name(close + 1, strlen(close + 1)))
                      : is_plain_name(name, strlen(name)));
    if (!is_good)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "allowed origin %.80s: expected one page's, such as https://chat.example",
                        origin);
    if (g->n_origins == R2I_MAX_HOSTS)
        return r2i_fail(err, R2_E_RANGE, "allowed origins: expected at most %d", R2I_MAX_HOSTS);
    g->origins[g->n_origins++] = origin;
    return R2_OK;
}
