/* golden_cases.h - for tests: where the golden cases lie, and that what must succeed does. */
#ifndef R2LM_TESTS_GOLDEN_CASES_H
#define R2LM_TESTS_GOLDEN_CASES_H
#include "r2lm/status.h"

/* $R2LM_GOLDEN_DIR, or the tree's. */
const char *golden_folder(void);
/* Ends the test with the error's text. */
void must(r2_status status, const r2_error *err);
#endif
