#include "engine_runs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CAP_PROMPT = 2048 };

void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

const char *golden_path(const char *name) {
    static char path[1024];
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    snprintf(path, sizeof path, "%s/%s",
             folder != NULL && folder[0] != '\0' ? folder : R2LM_DEFAULT_GOLDEN_DIR, name);
    return path;
}

r2_model *open_model(const char *name) {
    r2_error err;
    r2_model *model;
    must(r2_model_open(&model, golden_path(name), NULL, &err), &err);
    return model;
}

r2_engine *make_engine(r2_model *model, const r2_engine_options *options) {
    r2_error err;
    r2_engine *engine;
    must(r2_engine_create(&engine, model, options, &err), &err);
    return engine;
}

r2_sequence *start_sequence(r2_engine *engine, const r2_sequence_options *options, int32_t n,
                            int32_t salt) {
    r2_error err;
    r2_sequence *s;
    r2_token tokens[CAP_PROMPT];
    assert_true(n <= CAP_PROMPT);
    for (int32_t i = 0; i < n; i++)
        tokens[i] = (i * 37 + salt * 11 + i * i % 23) % 120;
    must(r2_sequence_create(&s, engine, options, &err), &err);
    must(r2_sequence_append(s, tokens, n, &err), &err);
    return s;
}

void run_engine(r2_engine *engine) {
    r2_error err;
    for (int32_t n_active = 1; n_active > 0;)
        must(r2_engine_step(engine, &n_active, &err), &err);
}
