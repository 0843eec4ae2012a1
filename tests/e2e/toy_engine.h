/* toy_engine.h - the toy model on one thread, for tests of the public API: opened once for a program's tests.
 *
 * It thinks without end, prints "an" and never stops by itself. */
#ifndef TOY_ENGINE_H
#define TOY_ENGINE_H
#include "r2lm/engine.h"

typedef struct {
    r2_model *model;
    r2_engine *engine;
} toy_engine;

extern toy_engine toy;

/* Ends the test with the error's text. */
void must(r2_status status, const r2_error *err);
/* Group fixtures of cmocka. */
int open_toy(void **state);
int close_toy(void **state);
/* Steps until no sequence has work. */
void run_toy(void);
#endif
