/* run_sources.h - the folders of prepared data that a run learns from. */
#ifndef R2I_RUN_SOURCES_H
#define R2I_RUN_SOURCES_H
#include "r2lm/train.h"
#include "train/data/data_stream.h"

typedef struct {
    const r2_train_options *options;
    int32_t batch_tokens, run_tokens; /* of the trainer: cap of a batch, of a run */
    r2i_data_set *sets;               /* [n_open], one per folder of options->data */
    int32_t n_open;
    int64_t n_cut; /* chats longer than a run */
} r2i_run_sources;

/* Opens and checks all sets of options->data; list and manifests lie in `arena`, the options are
 * borrowed.  R2_E_MISMATCH: made for another model; R2_E_ARGUMENT: nothing in them would be learnt; what
 * r2i_data_set_open says.  To be closed in failure too. */
R2_CHECKED r2_status r2i_run_sources_open(r2i_run_sources *out, const r2_train_options *options,
                                          const r2_model *model, int32_t batch_tokens,
                                          int32_t run_tokens, r2i_arena *arena, r2_error *err);
/* Of zeros too. */
void r2i_run_sources_close(r2i_run_sources *sources);
/* A stream over all sets that have documents in the split, by the run's shares; *out stays NULL without
 * any.  `place` may be NULL: the beginning. */
R2_CHECKED r2_status r2i_run_sources_stream(r2i_data_stream **out, const r2i_run_sources *sources,
                                            r2i_split split, int32_t n_held,
                                            const r2i_data_place *place, r2i_heap *heap,
                                            r2_error *err);
#endif
