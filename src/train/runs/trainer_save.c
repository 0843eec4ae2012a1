/* trainer_save.c - what a trainer learnt as a model folder, or as an adapter. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/path_name.h"
#include "base/utf8_valid.h"
#include "files/atomic_folder.h"
#include "r2lm/convert.h"
#include "train/lora/adapter_write.h"
#include "train/parameters/weights_folder.h"
#include "train/runs/trainer_parts.h"

static void describe_parameter(void *user, int32_t i, r2i_made_tensor *out) {
    const r2_trainer *t = user;
    const r2i_parameter *p = &t->parameters.list[i];
    *out = (r2i_made_tensor){
        .name = p->name, .is_vector = p->is_vector, .n_rows = p->n_rows, .n_cols = p->n_cols
    };
}

static void copy_row(void *user, int32_t i, int64_t r, float *row) {
    r2_trainer *t = user;
    const r2i_parameter *p = &t->parameters.list[i];
    memcpy(row, r2i_lent_values_of(&t->lent, i) + (size_t)r * (size_t)p->n_cols,
           (size_t)p->n_cols * sizeof *row);
}

static r2_status check_rows(void *user, r2_error *err) {
    const r2_trainer *t = user;
    return r2i_ranks_check(t->ranks, err);
}

/* `source`: the folder that configuration and tokenizer are copied from. */
static r2_status save_with(r2_trainer *trainer, const char *source, const char *out, bool is_f32,
                           bool is_forced, r2_error *err) {
    const r2i_weights_folder files = { .source = source,
                                       .out = out,
                                       .is_forced = is_forced,
                                       .is_bf16 = !is_f32,
                                       .heap = &trainer->model->heap,
                                       .n = trainer->parameters.n,
                                       .describe = describe_parameter,
                                       .make_row = copy_row,
                                       .check = check_rows,
                                       .user = trainer };
    return r2i_weights_folder_write(&files, err);
}

/* A GGUF file has configuration and tokenizer in a form of its own: they come from a folder that is
 * made of it beside `out` and goes again. */
static r2_status save_beside_converted(r2_trainer *trainer, const char *out, bool is_f32,
                                       bool is_forced, r2_error *err) {
    char beside[R2I_TRAINER_PATH_BYTES + 16];
    r2i_atomic_folder *folder = NULL;
    const r2_convert_options options = { .is_forced = true,
                                         .n_threads = r2i_pool_threads(trainer->pool) };
    (void)snprintf(beside, sizeof beside, "%.4000s.converted", out);
    R2I_TRY(
        r2i_atomic_folder_begin(&folder, beside, true, "config.json", &trainer->model->heap, err));
    const char *source = r2i_atomic_folder_path(folder);
    r2_status status = r2_convert(trainer->path, source, &options, err);
    if (status == R2_OK) status = save_with(trainer, source, out, is_f32, is_forced, err);
    r2i_atomic_folder_abandon(folder);
    return status;
}

r2_status r2_trainer_save(r2_trainer *trainer, const char *out, bool is_f32, bool is_forced,
                          r2_error *err) {
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    if (trainer->parameters.lora != NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED,
                        "%.150s: an adapter is trained, the model stays as it is: save the adapter",
                        trainer->path);
    if (r2i_trainer_divides_experts(trainer) && trainer->partition.rank > 0) {
        r2i_lend_values(trainer->ranks, &trainer->parameters);
        return r2i_ranks_check(trainer->ranks, err);
    }
    R2I_TRY(r2i_lent_values_open(&trainer->lent, trainer->ranks, &trainer->parameters,
                                 &trainer->partition, &trainer->model->heap, err));
    const r2_status status = trainer->model->has_folder
                                 ? save_with(trainer, trainer->path, out, is_f32, is_forced, err)
                                 : save_beside_converted(trainer, out, is_f32, is_forced, err);
    r2i_lent_values_close(&trainer->lent);
    return status;
}

r2_status r2_trainer_save_adapter(r2_trainer *trainer, const char *out, bool is_forced,
                                  r2_error *err) {
    const size_t n = strlen(out);
    const bool is_gguf = n > 5 && strcmp(out + n - 5, ".gguf") == 0,
               is_text = r2i_utf8_is_valid(trainer->path, strlen(trainer->path));
    const r2i_adapter_output output = { .parameters = &trainer->parameters,
                                        .base = is_text ? trainer->path : "",
                                        .out = out,
                                        .is_forced = is_forced,
                                        .heap = &trainer->model->heap };
    if (err != NULL) *err = (r2_error){ R2_OK, "" };
    if (trainer->parameters.lora == NULL)
        return r2i_fail(err, R2_E_UNSUPPORTED, "%.150s: all of the model is trained, no adapter",
                        trainer->path);
    return is_gguf ? r2i_adapter_write_gguf(&output, err) : r2i_adapter_write_folder(&output, err);
}
