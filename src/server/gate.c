#define _POSIX_C_SOURCE 200809L /* inet_pton */
#include "server/gate.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/failure.h"

r2_status r2i_gate_add_key(r2i_gate *g, const char *key, size_t n_bytes, r2_error *err) {
    if (n_bytes == 0 || n_bytes >= R2I_KEY_BYTES)
        return r2i_fail(err, R2_E_RANGE, "API key: expected 1 to %d bytes, found %zu",
                        R2I_KEY_BYTES - 1, n_bytes);
    if (g->n_keys == R2I_MAX_KEYS)
        return r2i_fail(err, R2_E_RANGE, "API keys: expected at most %d", R2I_MAX_KEYS);
    memset(g->keys[g->n_keys], 0, R2I_KEY_BYTES);
    memcpy(g->keys[g->n_keys++], key, n_bytes);
    return R2_OK;
}

static bool has_scheme(r2i_span value, const char *scheme) {
    const size_t n = strlen(scheme);
    return value.text != NULL && value.n_bytes > n &&
           r2i_span_is((r2i_span){ value.text, n }, scheme);
}

static bool is_same(const char *a, const char *b) {
    unsigned char different = 0;
    for (int i = 0; i < R2I_KEY_BYTES; i++)
        different = (unsigned char)(different | (a[i] ^ b[i]));
    return different == 0;
}

int32_t r2i_gate_find_key(const r2i_gate *g, const r2i_wire_head *head) {
    static const char bearer[] = "Bearer ";
    char given[R2I_KEY_BYTES] = { 0 };
    int32_t found = -1;
    r2i_span key = head->api_key;
    if (g->n_keys == 0) return 0;
    if (has_scheme(head->authorization, bearer)) {
        key = (r2i_span){ head->authorization.text + sizeof bearer - 1,
                          head->authorization.n_bytes - (sizeof bearer - 1) };
    }
    if (key.text == NULL || key.n_bytes >= R2I_KEY_BYTES) return -1;
    memcpy(given, key.text, key.n_bytes);
    for (int32_t i = 0; i < g->n_keys; i++)
        found = is_same(given, g->keys[i]) ? i + 1 : found;
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

bool r2i_gate_origin_is_ours(const r2i_gate *g, const r2i_wire_head *head) {
    static const char http[] = "http://";
    const r2i_span origin = head->origin;
    if (origin.text == NULL) return true;
    if (!has_scheme(origin, http)) return false;
    const r2i_span host = { origin.text + sizeof http - 1, origin.n_bytes - (sizeof http - 1) };
    return head->host.text != NULL && host.n_bytes == head->host.n_bytes &&
           memcmp(host.text, head->host.text, host.n_bytes) == 0 && r2i_gate_host_is_ours(g, host);
}
