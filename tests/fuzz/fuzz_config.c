/* fuzz_config.c - any bytes as config.json: refused, or a tree whose fields can be asked for and that
 * is a model's configuration or is refused as one. */
#include <stdint.h>
#include <stdlib.h>

#include "model/config_read.h"
#include "model/rope.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes);

/* Every getter on every field must answer, whatever kind of value is there. */
static int ask(const json_t *object, const char *key) {
    int64_t x = 0;
    int32_t n = 0;
    float f = 0;
    bool b = false;
    const char *text = NULL;
    const json_t *tree = NULL;
    r2_error err = { 0 };
    char room[64];
    int n_answers = 0;
    n_answers += r2i_json_get_i64(object, "config.json", key, -10, 1 << 20, &x, &err) == R2_OK;
    n_answers += r2i_json_get_i32(object, "config.json", key, 1, 1 << 20, &n, &err) == R2_OK;
    if (x < -10 || x > 1 << 20 || n < 0 || n > 1 << 20) abort();
    n_answers += r2i_json_try_f32(object, "config.json", key, 0.0f, 1e6f, &f, &err) == R2_OK;
    if (!(f >= 0.0f && f <= 1e6f)) abort();
    n_answers += r2i_json_get_bool(object, "config.json", key, &b, &err) == R2_OK;
    n_answers += r2i_json_get_text(object, "config.json", key, &text, &err) == R2_OK;
    n_answers += r2i_json_get_tree(object, "config.json", key, JSON_OBJECT, &tree, &err) == R2_OK;
    n_answers += r2i_json_get_tree(object, "config.json", key, JSON_ARRAY, &tree, &err) == R2_OK;
    return n_answers + (r2i_json_describe(json_object_get(object, key), room)[0] != '\0');
}

static int walk(const json_t *value) {
    const char *key;
    json_t *child;
    size_t i;
    int n = 0;
    json_t *tree = (json_t *)(uintptr_t)value; /* the macros of jansson do not know const */
    json_object_foreach(tree, key, child) n += ask(value, key) + walk(child);
    json_array_foreach(tree, i, child) n += walk(child);
    return n;
}

/* What passes the checks must be safe to compute with. */
static int configure(const json_t *root) {
    r2i_heap heap;
    r2i_arena arena;
    r2i_config config;
    r2_error err = { 0 };
    static double inv_freq[512];
    double factor = 0;
    r2i_heap_init(&heap);
    r2i_arena_init(&arena, &heap, 4096, 1 << 20);
    const r2_status status = r2i_config_from_json(&config, root, "config.json", &arena, &err);
    if (status == R2_OK) {
        if (config.rope.d > 2 * 512 || config.n_heads % config.n_kv_heads != 0) abort();
        r2i_rope_frequencies(&config.rope, inv_freq, &factor);
    } else if (err.text[0] == '\0') {
        abort();
    }
    r2i_arena_destroy(&arena);
    return status == R2_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n_bytes) {
    r2_error err = { 0 };
    json_t *root;
    static volatile int sink;
    if (r2i_json_read(&root, "config.json", bytes, n_bytes, &r2i_json_config_limits, &err) ==
        R2_OK) {
        sink = sink + walk(root) + configure(root);
    } else if (root != NULL || err.text[0] == '\0' || err.code == R2_OK) {
        abort();
    }
    json_decref(root);
    return 0;
}
