/* suite_table.c - every suite, by place and by name. */
#include <string.h>

#include "eval/eval_suite.h"

const r2i_eval_suite *const r2i_eval_suites[] = { &r2i_suite_humaneval, &r2i_suite_gsm8k,
                                                  &r2i_suite_mgsm,      &r2i_suite_bfcl,
                                                  &r2i_suite_tasks,     &r2i_suite_external,
                                                  &r2i_suite_needle };
const int32_t r2i_n_eval_suites = sizeof r2i_eval_suites / sizeof *r2i_eval_suites;

int32_t r2_eval_suite_count(void) {
    return r2i_n_eval_suites;
}

const r2_eval_suite *r2_eval_suite_at(int32_t i) {
    return i >= 0 && i < r2i_n_eval_suites ? &r2i_eval_suites[i]->about : NULL;
}

const r2i_eval_suite *r2i_eval_suite_find(const char *name) {
    for (int32_t i = 0; i < r2i_n_eval_suites; i++) {
        if (strcmp(r2i_eval_suites[i]->about.name, name) == 0) return r2i_eval_suites[i];
    }
    return NULL;
}

const r2_eval_suite *r2_eval_suite_find(const char *name) {
    const r2i_eval_suite *suite = r2i_eval_suite_find(name);
    return suite != NULL ? &suite->about : NULL;
}
