#include "cli/data_batches.h"

#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "r2lm/train.h"

static bool print_numbers(const char *before, const int32_t *numbers, int32_t n) {
    bool is_good = fputs(before, stdout) >= 0;
    for (int32_t i = 0; i < n && is_good; i++)
        is_good = printf(i > 0 ? ",%d" : "%d", numbers[i]) > 0;
    return is_good;
}

static bool print_batch(const r2_training_batch *b) {
    return print_numbers("{\"tokens\":[", b->tokens, b->n_tokens) &&
           print_numbers("],\"targets\":[", b->targets, b->n_tokens) &&
           print_numbers("],\"lengths\":[", b->lengths, b->n_documents) && puts("]}") >= 0;
}

r2_status r2i_data_batches_print(r2i_program *p, r2_error *err) {
    const r2i_options *o = p->options;
    const r2_data_reader_options options = { .data = p->arguments.words + 1,
                                             .n_data = p->arguments.n_words - 1,
                                             .batch_tokens = o->batch_tokens,
                                             .run_tokens = o->run_tokens,
                                             .seed = (uint64_t)o->seed,
                                             .is_validation = strcmp(o->split, "validation") == 0,
                                             .is_once = o->batches == 0 };
    r2_data_reader *reader;
    r2_training_batch batch;
    bool is_good = true;
    if (p->arguments.n_words < 2)
        return r2i_fail(err, R2_E_ARGUMENT, "data batches: expected folders of `r2lm data prep`");
    R2I_TRY(r2_data_reader_open(&reader, &options, err));
    for (int32_t i = 0; is_good && (o->batches == 0 || i < o->batches); i++) {
        if (!r2_data_reader_next(reader, &batch)) break;
        is_good = print_batch(&batch);
    }
    r2_data_reader_close(reader);
    if (is_good && fflush(stdout) == 0) return R2_OK;
    return r2i_fail(err, R2_E_IO, "data batches: standard output cannot be written");
}
