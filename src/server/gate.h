/* gate.h - who may ask: API keys, and the Host and Origin checks that keep web pages out. */
#ifndef R2I_GATE_H
#define R2I_GATE_H
#include "server/wire.h"

enum { R2I_MAX_KEYS = 64, R2I_KEY_BYTES = 256, R2I_MAX_HOSTS = 16, R2I_DIGEST_BYTES = 32 };

typedef struct {
    unsigned char keys[R2I_MAX_KEYS]
                      [R2I_DIGEST_BYTES]; /* SHA-256: the keys themselves are not kept */
    int32_t n_keys;                       /* 0: everybody may ask */
    const char *bind_host;
    const char *hosts[R2I_MAX_HOSTS];   /* further names of this server; borrowed */
    const char *origins[R2I_MAX_HOSTS]; /* pages elsewhere that may use it; borrowed */
    int32_t n_hosts, n_origins;
    bool is_tls;
} r2i_gate;

/* OpenSSL could take the memory that it begins with; without it its functions may not be called. */
bool r2i_crypto_is_ready(void);
/* R2_E_RANGE: empty, longer than 255 bytes, with bytes that no header can carry, or one key too many. */
R2_CHECKED r2_status r2i_gate_add_key(r2i_gate *gate, const char *key, size_t n_bytes,
                                      r2_error *err);
/* Another name in Host headers (borrowed).  R2_E_ARGUMENT: no name or address without a port; R2_E_RANGE: too
 * many. */
R2_CHECKED r2_status r2i_gate_add_host(r2i_gate *gate, const char *host, r2_error *err);
/* A page elsewhere that may use the server, "https://chat.example" (borrowed).  R2_E_ARGUMENT: something else,
 * also "*" and "null", which every page could be. */
R2_CHECKED r2_status r2i_gate_add_origin(r2i_gate *gate, const char *origin, r2_error *err);
/* The key of a request: 1..n_keys, 0 without keys, -1 when it has no right one.  Time depends neither on
 * the key nor on where it differs. */
int32_t r2i_gate_find_key(const r2i_gate *gate, const r2i_wire_head *head);
/* Host names this server, so no name of somebody else's was pointed at it (DNS rebinding). */
bool r2i_gate_host_is_ours(const r2i_gate *gate, r2i_span host);
/* No Origin, a page of this server, or one that was added. */
bool r2i_gate_origin_is_ours(const r2i_gate *gate, const r2i_wire_head *head);
/* It was added: its page may read replies. */
bool r2i_gate_origin_is_added(const r2i_gate *gate, r2i_span origin);
/* "127.0.0.1", "::1", "localhost". */
bool r2i_host_is_loopback(const char *host);
#endif
