/* command_eval.c - `r2lm eval`: what a model can do, in numbers. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/eval_data.h"
#include "cli/eval_report.h"
#include "cli/model_find.h"
#include "cli/option_names.h"
#include "cli/session.h"

typedef struct {
    r2i_session session;
    r2i_eval_files files;
    r2_eval_result result;
} eval_work;

/* ---- eval list ---- */

static int print_suites(r2i_program *p) {
    json_t *list = json_array();
    for (int32_t i = 0; i < r2_eval_suite_count(); i++) {
        const r2_eval_suite *s = r2_eval_suite_at(i);
        if (!p->options->wants_json)
            printf("%-12s %s\n%-12s data: %s\n", s->name, s->about, "",
                   s->origin[0] != '\0' ? s->origin : "none needed");
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:i, s:b}", "name", s->name, "about", s->about,
                            "files", s->files, "origin", s->origin, "max_new_tokens",
                            (int)s->max_new_tokens, "runs_programs", s->runs_programs));
    }
    if (p->options->wants_json)
        return r2i_program_print_json(p, json_pack("{s:o}", "suites", list));
    json_decref(list);
    printf("perplexity of a text: r2lm ppl -f FILE\n");
    return R2I_EXIT_OK;
}

/* ---- a run ---- */

static bool on_judged(void *user, const r2_eval_result *so_far) {
    r2i_program *p = user;
    r2i_terminal_progress(&p->terminal, "judged", so_far->n_done, so_far->n_answers);
    return r2i_signals_pending() == 0;
}

static void read_options(r2_eval_options *out, eval_work *w, const char *suite) {
    r2i_session *s = &w->session;
    const r2i_options *o = s->program->options;
    r2_sequence_options how;
    r2i_session_sequence_options(s, &how);
    *out = (r2_eval_options){ .suite = suite,
                              .data = w->files.data,
                              .n_data = w->files.n,
                              .output = o->output,
                              .is_forced = o->is_forced,
                              .limit = o->limit,
                              .n_samples = o->samples,
                              .sampling = how.sampling,
                              .max_new_tokens = o->predict,
                              .think = how.think,
                              .think_budget = how.think_budget,
                              .system = o->system,
                              .prompt = o->template,
                              .is_raw = o->is_raw,
                              .tasks = o->tasks,
                              .languages = o->languages,
                              .verifier = o->verifier,
                              .verifier_seconds = o->verifier_s,
                              .level = o->level,
                              .split = o->split,
                              .reads_on = o->reads_on,
                              .n_judges = o->judges,
                              .adapter = how.adapter,
                              .adapter_scale = how.adapter_scale,
                              .model_path = s->path,
                              .adapter_path = o->lora,
                              .engine = { .n_threads = o->threads,
                                          .n_context = o->ctx_size,
                                          .n_sequences = o->parallel,
                                          .cache_rows = r2i_session_cache_rows(s) },
                              .progress = on_judged,
                              .user = s->program };
}

/* Without the line's end. */
static void print_share(const char *name, r2_eval_share share, int32_t n_items) {
    printf("%-10s %6.2f %%   (95 %%: %.1f to %.1f, %d items)", name, 100 * share.value,
           100 * share.low, 100 * share.high, n_items);
}

/* Of a suite that has several. */
static void print_groups(r2i_program *p, const json_t *summary, bool is_lenient) {
    const char *name, *key = is_lenient ? "lenient_pass@1" : "pass@1";
    json_t *group, *groups = json_object_get(summary, "groups");
    if (json_object_size(groups) < 2) return;
    json_object_foreach(groups, name, group) {
        const json_t *share = json_object_get(group, key);
        print_share("",
                    (r2_eval_share){ json_number_value(json_object_get(share, "value")),
                                     json_number_value(json_object_get(share, "low")),
                                     json_number_value(json_object_get(share, "high")) },
                    (int32_t)json_integer_value(json_object_get(group, "items")));
        printf("  ");
        r2i_terminal_write(&p->terminal, false, name);
        printf("\n");
    }
}

static void print_numbers(const eval_work *w, const r2_eval_suite *suite) {
    const r2_eval_result *r = &w->result;
    json_t *summary = json_loads(r->summary_json, 0, NULL);
    print_groups(w->session.program, summary,
                 suite->has_lenient && w->session.program->options->is_lenient);
    json_decref(summary);
    print_share(suite->has_lenient ? "strict" : "pass@1", r->score, r->n_items);
    printf("\n");
    if (suite->has_lenient) {
        print_share("lenient", r->lenient, r->n_items);
        printf("\n");
    }
    r2i_program_note(w->session.program,
                     "%d of %d answers right, %d in the form asked for, %d cut at the limit of "
                     "tokens; %d were there before",
                     r->n_right, r->n_answers, r->n_form, r->n_cut, r->n_before);
    if (r->n_unjudged > 0)
        r2i_program_note(w->session.program,
                         "%d could not be judged and count as wrong, the last: %s; the same "
                         "command judges them again",
                         r->n_unjudged, r->why_unjudged);
    if (r->n_done > r->n_before)
        r2i_program_note(w->session.program,
                         "%lld tokens to %lld of prompts in %.1f s: %.0f tok/s; judged after %.1f "
                         "s; %.1f s of processor time",
                         (long long)r->n_tokens, (long long)r->n_prompt_tokens, r->answer_seconds,
                         (double)r->n_tokens / r->answer_seconds, r->seconds, r->cpu_seconds);
}

static int finish(eval_work *w, const r2_eval_suite *suite) {
    r2i_program *p = w->session.program;
    const double score = 100 * (p->options->is_lenient ? w->result.lenient : w->result.score).value;
    if (p->options->wants_json) {
        const int code = r2i_program_print_json(p, json_loads(w->result.summary_json, 0, NULL));
        if (code != R2I_EXIT_OK) return code;
    } else {
        print_numbers(w, suite);
    }
    if (score >= p->options->min_score) return R2I_EXIT_OK;
    fprintf(stderr, "r2lm: %s: expected at least %g %%, found %.2f %%\n", suite->name,
            p->options->min_score, score);
    return R2I_EXIT_SCORE;
}

static r2_status run_suite(eval_work *w, const r2_eval_suite *suite, r2_error *err) {
    r2i_program *p = w->session.program;
    const char *path;
    r2_eval_options options;
    if (p->options->samples > 1 && p->options->temp <= 0)
        return r2i_fail(err, R2_E_ARGUMENT,
                        "--samples %d: expected --temp above 0 with it: the likeliest answer is "
                        "always the same",
                        p->options->samples);
    R2I_TRY(r2i_eval_files_read(&w->files, p, suite, err));
    R2I_TRY(r2i_model_resolve(&path, p, p->options->model, err));
    r2i_signals_catch();
    R2I_TRY(r2i_session_open_model(&w->session, p, path, err));
    read_options(&options, w, suite->name);
    r2_status status = r2_eval_run(&w->result, w->session.model, &options, err);
    r2i_terminal_clear_progress(&p->terminal);
    if (status == R2_OK && options.output != NULL)
        status = r2i_eval_report_write(p, options.output, err);
    if (status == R2_OK && options.output != NULL)
        r2i_program_note(p, "%s: samples.jsonl, summary.json and report.html", options.output);
    if (status == R2_E_CANCELED && options.output != NULL)
        r2i_program_note(p, "%s has %d of %d answers; the same command goes on", options.output,
                         w->result.n_done, w->result.n_answers);
    return status;
}

static void print_hint(const eval_work *w, r2_status status) {
    r2i_program *p = w->session.program;
    if (p->is_model_missing) r2i_models_hint(p);
    if (status == R2_E_MISMATCH) r2i_program_hint(p, "      --force replaces them");
    if (status == R2_E_SANDBOX)
        r2i_program_hint(p, "      `r2lm sandbox --check` shows what this machine has");
}

/* The first flag on the command line that `r2lm ppl` has not; NULL: none. */
static const r2i_option *foreign_to_ppl(const r2i_program *p) {
    for (int i = 0; i < p->arguments.n_given; i++) {
        const r2i_option *o = p->arguments.given[i];
        if (strcmp(o->name, "data") != 0 &&
            r2i_option_find(R2I_FOR_PPL, o->name, strlen(o->name)) == NULL)
            return o;
    }
    return NULL;
}

/* `r2lm ppl` on the file of --data. */
static int measure_perplexity(r2i_program *p) {
    enum { USUAL_WINDOW = 512 };
    r2i_options *o = &p->arguments.values;
    r2_error err;
    if (o->data.n != 1)
        return r2i_program_fail(
            p,
            r2i_fail(&err, R2_E_ARGUMENT, "eval perplexity: expected --data and one file of text"),
            &err);
    const r2i_option *foreign = foreign_to_ppl(p);
    if (foreign != NULL || p->arguments.n_words > 1)
        return r2i_program_fail(p,
                                r2i_fail(&err, R2_E_ARGUMENT,
                                         "eval perplexity: expected --data and flags of `r2lm "
                                         "ppl`, found %s%.60s",
                                         foreign != NULL ? "--" : "",
                                         foreign != NULL ? foreign->name : p->arguments.words[1]),
                                &err);
    o->file = o->data.texts[0];
    if (o->ctx_size == 0) o->ctx_size = USUAL_WINDOW;
    p->arguments.n_words = 0;
    return r2i_ppl_command(p);
}

/* ---- eval compare ---- */

static json_t *pairs_json(const r2_eval_pairs *c) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:f}", "pairs", (json_int_t)c->n_pairs, "both",
                     (json_int_t)c->n_both, "first_only", (json_int_t)c->n_first, "second_only",
                     (json_int_t)c->n_second, "neither", (json_int_t)c->n_neither, "p", c->p);
}

static json_t *comparison_json(const r2_eval_comparison *c) {
    json_t *out = pairs_json(&c->all), *groups = json_object();
    for (int32_t i = 0; i < c->n_groups; i++)
        (void)json_object_set_new(groups, c->groups[i].group, pairs_json(&c->groups[i]));
    if (out == NULL || groups == NULL ||
        json_object_update_new(out, json_pack("{s:s, s:[s, s]}", "suite", c->suite, "models",
                                              c->models[0], c->models[1])) != 0 ||
        (c->n_groups > 1 && json_object_set(out, "groups", groups) != 0)) {
        json_decref(out);
        out = NULL;
    }
    json_decref(groups);
    return out;
}

static void print_pairs(r2i_program *p, const char *name, const r2_eval_pairs *c) {
    const double percent = 100 / (double)c->n_pairs;
    printf("  %7lld  %6.2f %%  %6.2f %%  %+7.2f  %9lld  %9lld  %9.3g  ", (long long)c->n_pairs,
           percent * (double)(c->n_both + c->n_first), percent * (double)(c->n_both + c->n_second),
           percent * (double)(c->n_second - c->n_first), (long long)c->n_first,
           (long long)c->n_second, c->p);
    r2i_terminal_write(&p->terminal, false, name);
    printf("%s\n", c->p < 0.05 ? "" : " (may be chance)");
}

static int print_comparison(r2i_program *p, const r2_eval_comparison *c) {
    if (p->options->wants_json) return r2i_program_print_json(p, comparison_json(c));
    printf("%s, items of both runs; p by McNemar's exact test\n", c->suite);
    for (int i = 0; i < 2; i++) {
        printf("  %c: ", 'A' + i);
        r2i_terminal_write(&p->terminal, false, c->models[i]);
        printf("\n");
    }
    printf("  %7s  %8s  %8s  %7s  %9s  %9s  %9s\n", "items", "A right", "B right", "B - A",
           "A alone", "B alone", "p");
    for (int32_t i = 0; c->n_groups > 1 && i < c->n_groups; i++)
        if (c->groups[i].n_pairs > 0) print_pairs(p, c->groups[i].group, &c->groups[i]);
    print_pairs(p, "all", &c->all);
    for (int i = 0; i < 2; i++) {
        if (c->n_items[i] > c->all.n_pairs)
            r2i_program_note(
                p, "%s has %lld answers that the other has not: was that run finished?",
                p->arguments.words[1 + i], (long long)(c->n_items[i] - c->all.n_pairs));
    }
    return R2I_EXIT_OK;
}

static int compare_runs(r2i_program *p) {
    r2_eval_comparison c;
    r2_error err = { R2_OK, "" };
    r2_status status =
        p->arguments.n_words == 3
            ? r2_eval_compare(&c, p->arguments.words[1], p->arguments.words[2],
                              p->options->is_lenient, NULL, &err)
            : r2i_fail(&err, R2_E_ARGUMENT, "eval compare: expected the folders of two runs");
    if (status != R2_OK) return r2i_program_fail(p, status, &err);
    const int code = print_comparison(p, &c);
    r2_eval_comparison_free(&c, NULL);
    return code;
}

int r2i_eval_command(r2i_program *p) {
    eval_work w = { .session = { .program = p } };
    r2_error err = { R2_OK, "" };
    const char *name = p->arguments.n_words > 0 ? p->arguments.words[0] : "nothing";
    if (strcmp(name, "list") == 0 && p->arguments.n_words == 1) return print_suites(p);
    if (strcmp(name, "compare") == 0) return compare_runs(p);
    if (strcmp(name, "perplexity") == 0) return measure_perplexity(p);
    const r2_eval_suite *suite = r2_eval_suite_find(name);
    r2_status status = R2_OK;
    if (suite == NULL || p->arguments.n_words > 1)
        status = r2i_fail(&err, R2_E_ARGUMENT,
                          "eval: expected a suite of `r2lm eval list` and flags, found %.60s",
                          p->arguments.n_words > 1 ? p->arguments.words[1] : name);
    if (status == R2_OK) status = run_suite(&w, suite, &err);
    int code;
    if (status == R2_OK) {
        code = finish(&w, suite);
    } else {
        code = r2i_program_fail(p, status, &err);
        print_hint(&w, status);
    }
    r2_eval_result_free(&w.result);
    r2i_session_close(&w.session);
    r2i_eval_files_free(&w.files);
    return code;
}
