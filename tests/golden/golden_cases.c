#include "golden_cases.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* NULL: the tree's own folder. */
static const char *other_folder(void) {
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    return folder != NULL && folder[0] != '\0' ? folder : NULL;
}

const char *golden_folder(void) {
    const char *folder = other_folder();
    return folder != NULL ? folder : R2LM_DEFAULT_GOLDEN_DIR;
}

json_t *golden_file(const char *name) {
    char path[1024];
    snprintf(path, sizeof path, "%.900s/%.100s", golden_folder(), name);
    json_t *file = json_load_file(path, 0, NULL);
    if (file == NULL && other_folder() == NULL) fail_msg("no %s", path);
    if (file == NULL) {
        printf("no %s among the golden cases\n", name);
        skip();
    }
    return file;
}

double golden_number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

double golden_error(double found, double expected) {
    const double e = fabs(found - expected) / fabs(expected);
    return isnan(e) ? INFINITY : e;
}

double golden_worse(double worst, double error) {
    return isnan(worst) || isnan(error) ? INFINITY : fmax(worst, error);
}

void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}
