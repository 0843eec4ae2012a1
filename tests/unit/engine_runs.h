/* engine_runs.h - what tests of engines share: golden models by name, prompts, running to the end. */
#ifndef ENGINE_RUNS_H
#define ENGINE_RUNS_H
#include "r2lm/engine.h"

/* Ends the test with the error's text. */
void must(r2_status status, const r2_error *err);
/* In R2LM_GOLDEN_DIR or the tree; valid until the next call. */
const char *golden_path(const char *name);
r2_model *open_model(const char *name);
r2_engine *make_engine(r2_model *model, const r2_engine_options *options);
/* A sequence with n <= 2048 made-up tokens below 120; another text for another salt. */
r2_sequence *start_sequence(r2_engine *engine, const r2_sequence_options *options, int32_t n,
                            int32_t salt);
/* Steps until no sequence has work. */
void run_engine(r2_engine *engine);
#endif
