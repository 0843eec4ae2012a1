#include "toy_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

toy_engine toy;

void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}

int open_toy(void **state) {
    r2_error err;
    char path[1024];
    const char *folder = getenv("R2LM_SOURCE_DIR");
    (void)state;
    (void)snprintf(path, sizeof path, "%s/tests/e2e/toy.gguf", folder != NULL ? folder : ".");
    must(r2_model_open(&toy.model, path, NULL, &err), &err);
    must(r2_engine_create(&toy.engine, toy.model, &(r2_engine_options){ .n_threads = 1 }, &err),
         &err);
    return 0;
}

int close_toy(void **state) {
    (void)state;
    r2_engine_destroy(toy.engine);
    r2_model_close(toy.model);
    return 0;
}

void run_toy(void) {
    r2_error err;
    for (int32_t n_active = 1; n_active > 0;)
        must(r2_engine_step(toy.engine, &n_active, &err), &err);
}
