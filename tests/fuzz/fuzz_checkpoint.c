/* fuzz_checkpoint.c - any bytes as the manifest of a checkpoint: refused with a message, or a step with
 * shards.  An odd first byte: the manifest's checksum is made right before, so that what lies behind it
 * is read. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "files/state_manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

enum { MAX_BYTES = 1 << 16, DIGITS = 16 };
static const char head[] = "{\n \"checksum\": \"";

static void repair(char *text, size_t n) {
    const size_t n_head = sizeof head - 1;
    char hex[DIGITS + 1];
    r2i_checksum sum;
    if (n < n_head + DIGITS) return;
    memcpy(text, head, n_head);
    memset(text + n_head, '0', DIGITS);
    r2i_checksum_begin(&sum);
    r2i_checksum_add(&sum, text, n);
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)r2i_checksum_get(&sum));
    memcpy(text + n_head, hex, DIGITS);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    static char text[MAX_BYTES];
    r2i_heap heap;
    r2i_state_manifest m;
    r2_error err = { R2_OK, "" };
    if (n_bytes < 1 || n_bytes > MAX_BYTES) return 0;
    memcpy(text, bytes + 1, n_bytes - 1);
    if (bytes[0] % 2 == 1) repair(text, n_bytes - 1);
    r2i_heap_init(&heap);
    const r2_status status =
        r2i_state_manifest_read(&m, "manifest", text, n_bytes - 1, &heap, &err);
    if (status == R2_OK) {
        if (m.n_shards < 1 || m.step < 0 || !json_is_object(m.state)) abort();
        r2i_state_manifest_free(&m, &heap);
    } else if (err.text[0] == '\0' || m.shards != NULL || m.state != NULL) {
        abort();
    }
    if (heap.used_bytes != 0) abort();
    return 0;
}
