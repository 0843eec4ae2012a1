#include "cli/traces_choice.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/model_find.h"
#include "cli/session.h"
#include "r2lm/distill.h"

enum { PATH_BYTES = 4096 };

static bool on_sample(void *user, const r2_traces_result *so_far) {
    r2i_program *p = user;
    r2i_terminal_progress(&p->terminal, "answers", so_far->n_samples, 0);
    return r2i_signals_pending() == 0;
}

static r2_answer_check check_of(const char *name) {
    if (strcmp(name, "number") == 0) return R2_CHECK_NUMBER;
    if (strcmp(name, "task") == 0) return R2_CHECK_TASK;
    return strcmp(name, "text") == 0 ? R2_CHECK_TEXT : R2_CHECK_NONE;
}

static void read_options(r2_traces_options *out, r2i_program *p, const char *const *inputs,
                         int32_t n_inputs) {
    const r2i_options *o = p->options;
    const bool is_off = o->think == R2I_EFFORT_OFF;
    *out = (r2_traces_options){ .inputs = inputs,
                                .n_inputs = n_inputs,
                                .mark = o->mark,
                                .n_samples = o->samples,
                                .sampling = { .temperature = (float)o->temp,
                                              .top_k = o->top_k,
                                              .top_p = (float)o->top_p,
                                              .min_p = (float)o->min_p,
                                              .seed = (uint64_t)o->seed },
                                .max_new_tokens = o->predict,
                                .think = is_off ? R2_THINK_OFF : R2_THINK_AUTO,
                                .think_budget =
                                    is_off ? 0 : r2i_think_budget((r2i_effort)o->think, o->budget),
                                .check = check_of(o->check),
                                .keeps_cut = o->keeps_cut,
                                .is_forced = o->is_forced,
                                .engine = { .n_threads = o->threads, .n_sequences = o->parallel },
                                .progress = on_sample,
                                .user = p };
}

static r2_status write_traces(r2_traces_result *result, r2i_program *p, const char *model_path,
                              const char *const *inputs, int32_t n_inputs, const char *out,
                              r2_error *err) {
    const r2_model_options model_options = { .cpu = p->options->cpu };
    r2_traces_options options;
    r2_model *model;
    read_options(&options, p, inputs, n_inputs);
    R2I_TRY(r2_model_open(&model, model_path, &model_options, err));
    r2i_signals_catch();
    const r2_status status = r2_traces_write(result, model, out, &options, err);
    r2i_terminal_clear_progress(&p->terminal);
    r2_model_close(model);
    if (status == R2_E_CANCELED)
        r2i_program_note(p, "%s has %" PRId64 " answers; the same command goes on", out,
                         result->n_kept);
    return status;
}

static void note(const r2i_program *p, const char *out, const r2_traces_result *r) {
    r2i_program_note(p,
                     "%s: %" PRId64 " answers of %" PRId64 " samples to %" PRId64
                     " prompts (%" PRId64 " were there before); left out: %" PRId64
                     " wrong, %" PRId64 " without an end, %" PRId64 " prompts too long",
                     out, r->n_kept, r->n_samples, r->n_prompts, r->n_before, r->n_wrong, r->n_cut,
                     r->n_too_long);
    if (r->n_tokens > 0)
        r2i_program_note(p,
                         "%" PRId64 " tokens, %" PRId64 " of them thoughts, in %.1f s: %.0f tok/s",
                         r->n_tokens, r->n_thinking, r->seconds, (double)r->n_tokens / r->seconds);
}

static r2_status print_result(r2i_program *p, const char *out, const r2_traces_result *r,
                              r2_error *err) {
    note(p, out, r);
    if (!p->options->wants_json) {
        printf("%s\n", out);
        return R2_OK;
    }
    json_t *json = json_pack(
        "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "file", out, "prompts",
        (json_int_t)r->n_prompts, "samples", (json_int_t)r->n_samples, "before",
        (json_int_t)r->n_before, "kept", (json_int_t)r->n_kept, "wrong", (json_int_t)r->n_wrong,
        "cut", (json_int_t)r->n_cut, "too_long", (json_int_t)r->n_too_long, "tokens",
        (json_int_t)r->n_tokens, "thinking", (json_int_t)r->n_thinking, "seconds", r->seconds);
    if (r2i_program_print_json(p, json) == R2I_EXIT_OK) return R2_OK;
    return r2i_fail(err, R2_E_IO, "standard output cannot be written");
}

r2_status r2i_traces_print(r2i_program *p, r2_error *err) {
    const char *out = p->options->output, *path;
    r2_traces_result result;
    if (out == NULL || p->arguments.n_words < 2 || strcmp(out, "-") == 0)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "data traces: expected prompts (JSONL), -m TEACHER and -o FILE, with which "
                        "the same command goes on");
    R2I_TRY(r2i_model_resolve(&path, p, p->options->model, err));
    const r2_status status =
        write_traces(&result, p, path, p->arguments.words + 1, p->arguments.n_words - 1, out, err);
    return status == R2_OK ? print_result(p, out, &result, err) : status;
}

r2_status r2i_traces_choose(const char **path, r2i_program *p, const char *teacher,
                            const char *const *inputs, int32_t n_inputs, r2_error *err) {
    char *out = r2i_arena_push(&p->arena, PATH_BYTES, 1);
    r2_traces_result result;
    if (out == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for the name of a file");
    (void)snprintf(out, PATH_BYTES, "%.4000s/traces.jsonl", p->options->output);
    R2I_TRY(write_traces(&result, p, teacher, inputs, n_inputs, out, err));
    note(p, out, &result);
    *path = out;
    return R2_OK;
}
