/* Feeds hostile bytes to the reader of HTTP heads and bodies: whole, and byte by byte with the same result. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/gate.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

static const r2i_wire_limits limits = {
    .line_bytes = 256, .head_bytes = 1024, .body_bytes = 4096, .n_fields = 10
};

typedef struct {
    size_t n_heads, n_whole, http, n_used; /* of one type: compared byte by byte */
} outcome;

static void look_at_head(const r2i_wire *wire) {
    r2i_gate gate = { .bind_host = "127.0.0.1" };
    const r2i_wire_head *head = &wire->head;
    if (head->method.n_bytes == 0 || head->target.text[0] != '/') abort();
    if (head->body_bytes > limits.body_bytes) abort();
    if (head->is_chunked && head->length.text != NULL) abort();
    if (r2i_gate_add_key(&gate, "key", 3, NULL) != R2_OK) abort();
    (void)r2i_gate_find_key(&gate, head);
    (void)r2i_gate_host_is_ours(&gate, head->host);
    (void)r2i_gate_origin_is_ours(&gate, head);
}

static outcome read_all(const uint8_t *bytes, size_t n_bytes, size_t piece) {
    outcome o = { 0 };
    r2i_heap heap;
    r2i_wire wire;
    r2i_heap_init(&heap);
    r2i_wire_init(&wire, &heap, &limits);
    for (bool is_over = false; !is_over;) {
        const size_t n_left = n_bytes - o.n_used, n = n_left < piece ? n_left : piece;
        size_t n_here;
        const r2i_wire_event event =
            r2i_wire_feed(&wire, (const char *)bytes + o.n_used, n, &n_here);
        if (n_here > n) abort();
        o.n_used += n_here;
        if (event == R2I_WIRE_HEAD) {
            o.n_heads++;
            look_at_head(&wire);
        }
        if (event == R2I_WIRE_WHOLE) o.n_whole++;
        if (event == R2I_WIRE_REFUSE) o.http = (size_t)wire.http;
        if (event == R2I_WIRE_REFUSE && (wire.http < 400 || wire.text == NULL)) abort();
        is_over = event == R2I_WIRE_REFUSE || (event == R2I_WIRE_MORE && o.n_used == n_bytes);
    }
    r2i_wire_destroy(&wire);
    if (heap.used_bytes != 0) abort();
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    const outcome whole = read_all(bytes, n_bytes, SIZE_MAX), single = read_all(bytes, n_bytes, 1);
    if (memcmp(&whole, &single, sizeof whole) != 0) abort();
    if (whole.n_whole > whole.n_heads) abort();
    return 0;
}
