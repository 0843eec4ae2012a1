/* gate.h - who may ask: API keys, and the Host and Origin checks that keep web pages out. */
#ifndef R2I_GATE_H
#define R2I_GATE_H
#include "server/wire.h"

enum { R2I_MAX_KEYS = 16, R2I_KEY_BYTES = 256, R2I_MAX_HOSTS = 16 };

typedef struct {
    char keys[R2I_MAX_KEYS][R2I_KEY_BYTES]; /* padded with zeros */
    int32_t n_keys;                         /* 0: everybody may ask */
    const char *bind_host;
    const char *hosts[R2I_MAX_HOSTS]; /* further names of this server; borrowed */
    int32_t n_hosts;
} r2i_gate;

/* R2_E_RANGE: empty, longer than 255 bytes, or one key too many. */
R2_CHECKED r2_status r2i_gate_add_key(r2i_gate *gate, const char *key, size_t n_bytes,
                                      r2_error *err);
/* The key of a request: 1..n_keys, 0 without keys, -1 when it has no right one.  Time depends neither on
 * the key nor on where it differs. */
int32_t r2i_gate_find_key(const r2i_gate *gate, const r2i_wire_head *head);
/* Host names this server, so no name of somebody else's was pointed at it (DNS rebinding). */
bool r2i_gate_host_is_ours(const r2i_gate *gate, r2i_span host);
/* No Origin, or a page of this server. */
bool r2i_gate_origin_is_ours(const r2i_gate *gate, const r2i_wire_head *head);
/* "127.0.0.1", "::1", "localhost". */
bool r2i_host_is_loopback(const char *host);
#endif
