/* golden_cases.h - for tests: where the golden cases lie, how numbers are held against them, and that
 * what must succeed does. */
#ifndef R2LM_TESTS_GOLDEN_CASES_H
#define R2LM_TESTS_GOLDEN_CASES_H
#include <jansson.h>

#include "r2lm/status.h"

/* $R2LM_GOLDEN_DIR, or the tree's. */
const char *golden_folder(void);
/* One of its JSON files, to be given back with json_decref; the test fails where the
 * tree has none, and is skipped where another folder has none. */
json_t *golden_file(const char *name);
/* The number of that name; without one the test fails. */
double golden_number(const json_t *object, const char *key);
/* How far apart, relative to what is expected; infinite where one is no number. */
double golden_error(double found, double expected);
/* The larger of two errors; unlike fmax, which passes over a NaN, infinite if one is no number. */
double golden_worse(double worst, double error);
/* Ends the test with the error's text. */
void must(r2_status status, const r2_error *err);
#endif
