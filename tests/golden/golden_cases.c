#include "golden_cases.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

const char *golden_folder(void) {
    const char *folder = getenv("R2LM_GOLDEN_DIR");
    return folder != NULL && folder[0] != '\0' ? folder : R2LM_DEFAULT_GOLDEN_DIR;
}

void must(r2_status status, const r2_error *err) {
    if (status != R2_OK) fail_msg("%s: %s", r2_status_name(status), err->text);
}
