#include "train/distill.h"

#include "base/failure.h"
#include "train/teacher.h"

struct r2i_distill {
    const r2_distill_options *options;
    r2i_heap *heap;
    r2_teacher *teacher;
};

r2_status r2i_distill_open(r2i_distill **out, const r2_distill_options *options,
                           r2_trainer *trainer, r2i_heap *heap, r2_error *err) {
    *out = NULL;
    r2i_distill *d = r2i_heap_take(heap, sizeof *d);
    if (d == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a distillation");
    *d = (r2i_distill){ .options = options, .heap = heap };
    const r2_status status =
        r2_teacher_open(&d->teacher, options->teacher, trainer, &options->how, err);
    if (status != R2_OK)
        r2i_distill_close(d);
    else
        *out = d;
    return status;
}

void r2i_distill_close(r2i_distill *d) {
    if (d == NULL) return;
    r2_teacher_close(d->teacher);
    r2i_heap_give(d->heap, d, sizeof *d);
}

int64_t r2i_distill_bytes(const r2i_distill *d) {
    return d != NULL ? r2i_teacher_bytes(d->teacher) : 0;
}

r2_status r2i_distill_soften(r2i_distill *d, r2_training_batch *batch, r2_error *err) {
    return r2_teacher_score(d->teacher, batch, &batch->soft, err);
}
