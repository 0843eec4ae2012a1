#include "train/runs/run_sources.h"

#include "base/failure.h"
#include "model/model.h"

/* Chats may be cut before their first answer; then a run would end well and have learnt nothing. */
static r2_status check_teaches(const r2i_run_sources *s, r2_error *err) {
    int64_t n_documents = 0;
    for (int32_t i = 0; i < s->n_open; i++) {
        const r2i_data_set *set = &s->sets[i];
        const size_t n = set->manifest.has_chats ? (size_t)s->run_tokens : SIZE_MAX;
        if (r2i_data_set_teaches(set, R2I_SPLIT_TRAIN, n)) return R2_OK;
        n_documents += (int64_t)set->n_documents[R2I_SPLIT_TRAIN];
    }
    if (n_documents == 0) return R2_OK; /* which is said where they are opened */
    return r2i_fail(err, R2_E_ARGUMENT,
                    "%.150s: expected something to learn in the first %d tokens of a document, "
                    "found none: a higher --run-tokens or --batch-tokens helps",
                    s->options->data[0], s->run_tokens);
}

r2_status r2i_run_sources_open(r2i_run_sources *out, const r2_train_options *options,
                               const r2_model *model, int32_t batch_tokens, int32_t run_tokens,
                               r2i_arena *arena, r2_error *err) {
    r2i_run_sources *s = out;
    *s = (r2i_run_sources){ .options = options,
                            .batch_tokens = batch_tokens,
                            .run_tokens = run_tokens,
                            .sets = R2I_ARENA_ARRAY(arena, r2i_data_set, (size_t)options->n_data) };
    if (s->sets == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for sets of data");
    for (int32_t i = 0; i < options->n_data; i++) {
        r2i_data_set *set = &s->sets[i];
        R2I_TRY(r2i_data_set_open(set, options->data[i], model->tokenizer != NULL ? model : NULL,
                                  arena, err));
        s->n_open++;
        if (set->manifest.n_vocab > model->config.n_vocab)
            return r2i_fail(
                err, R2_E_MISMATCH,
                "%.150s: expected tokens below the model's %d, found a vocabulary of %d",
                options->data[i], model->config.n_vocab, set->manifest.n_vocab);
        if (set->manifest.has_chats)
            s->n_cut += r2i_data_set_longer(set, R2I_SPLIT_TRAIN, (size_t)run_tokens);
    }
    return check_teaches(s, err);
}

void r2i_run_sources_close(r2i_run_sources *sources) {
    for (int32_t i = 0; i < sources->n_open; i++)
        r2i_data_set_close(&sources->sets[i]);
    sources->n_open = 0;
}

r2_status r2i_run_sources_stream(r2i_data_stream **out, const r2i_run_sources *s, r2i_split split,
                                 int32_t n_held, const r2i_data_place *place, r2i_heap *heap,
                                 r2_error *err) {
    r2i_data_source sources[R2I_MAX_SOURCES];
    const double *shares = s->options->shares;
    int32_t n = 0;
    *out = NULL;
    for (int32_t i = 0; i < s->n_open; i++) {
        if (s->sets[i].n_documents[split] == 0) continue;
        sources[n++] = (r2i_data_source){ .set = &s->sets[i],
                                          .split = split,
                                          .weight = shares != NULL ? shares[i] : 1 };
    }
    if (n == 0) return R2_OK;
    const r2i_data_stream_options options = { .sources = sources,
                                              .n_sources = n,
                                              .run_tokens = s->run_tokens,
                                              .batch_tokens = s->batch_tokens,
                                              .seed = s->options->seed,
                                              .is_once = split == R2I_SPLIT_VALIDATION,
                                              .n_held = n_held };
    return r2i_data_stream_open(out, &options, place, heap, err);
}
