/* command_models.c - `r2lm list` and `r2lm show`. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "cli/adapter_choice.h"
#include "cli/model_find.h"
#include "cli/session.h"

static json_t *describe(const r2i_found_model *m) {
    return json_pack("{s:s, s:s, s:s, s:I}", "name", m->name, "path", m->path, "source", m->source,
                     "bytes", (json_int_t)m->n_bytes);
}

static int print_list_json(r2i_program *p, const r2i_found_models *found) {
    json_t *list = json_array();
    for (size_t i = 0; i < found->n_models; i++) {
        json_t *model = describe(&found->models[i]);
        if (model != NULL) (void)json_array_append_new(list, model); /* names may be no UTF-8 */
    }
    return r2i_program_print_json(p, json_pack("{s:o}", "models", list));
}

/* File names are other people's text. */
static void print_clean(r2i_program *p, const char *text, int width) {
    char *copy = r2i_arena_copy_text(&p->arena, text, strlen(text));
    if (copy == NULL) return;
    r2i_text_strip_controls(copy);
    printf("%-*s", width, copy);
}

int r2i_list_command(r2i_program *p) {
    r2i_found_models found;
    r2_error err = { R2_OK, "" };
    const r2_status status = r2i_models_find(&found, p, &err);
    if (status != R2_OK) return r2i_program_fail(p, status, &err);
    if (p->options->wants_json) return print_list_json(p, &found);
    int width = 4;
    for (size_t i = 0; i < found.n_models; i++) {
        const int n = (int)strlen(found.models[i].name);
        if (n > width && n <= 60) width = n;
    }
    if (found.n_models > 0 && !p->terminal.is_quiet)
        printf("%-*s  %10s  %-12s  %s\n", width, "NAME", "SIZE", "WHERE", "PATH");
    for (size_t i = 0; i < found.n_models; i++) {
        const r2i_found_model *m = &found.models[i];
        print_clean(p, m->name, p->terminal.is_quiet ? 0 : width);
        if (!p->terminal.is_quiet) {
            printf("  %7.1f MB  %-12s  ", (double)m->n_bytes * 1e-6, m->source);
            print_clean(p, m->path, 0);
        }
        printf("\n");
    }
    if (found.n_models == 0 && !p->terminal.is_quiet) {
        r2i_program_hint(p, "no models here; `make run` in the source tree fetches %s",
                         r2i_default_model);
    }
    return R2I_EXIT_OK;
}

/* ---- show ---- */

static const char *word_or_flag(const r2i_program *p) {
    const bool has_word = p->arguments.n_words > 0 && !p->arguments.has_model_flag;
    return has_word ? p->arguments.words[0] : p->options->model;
}

static int print_info_json(const r2i_session *s) {
    const r2_model_info *m = &s->info;
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "path", s->path, "name", m->name, "architecture",
                  m->architecture, "weight_types", m->weight_types, "cpu_level", m->cpu_level);
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {
        { "parameters", m->n_parameters },
        { "active_parameters", m->n_active_parameters },
        { "layers", m->n_layers },
        { "d_model", m->d_model },
        { "heads", m->n_heads },
        { "kv_heads", m->n_kv_heads },
        { "d_head", m->d_head },
        { "d_ffn", m->d_ffn },
        { "experts", m->n_experts },
        { "active_experts", m->n_active_experts },
        { "vocabulary", m->n_vocab },
        { "context", m->n_context },
        { "file_bytes", m->file_bytes },
        { "bytes_per_token", m->bytes_per_token },
        { "cache_bytes_per_token", m->cache_bytes_per_token },
    };
    if (o == NULL) return R2I_EXIT_FAILED;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        (void)json_object_set_new(o, numbers[i].key, json_integer(numbers[i].value));
    }
    (void)json_object_set_new(o, "has_chat_template", json_boolean(m->has_chat_template));
    (void)json_object_set_new(o, "can_think", json_boolean(m->can_think));
    return r2i_program_print_json(s->program, o);
}

static int print_info(const r2i_session *s) {
    const r2_model_info *m = &s->info;
    char name[128];
    (void)snprintf(name, sizeof name, "%s", m->name);
    r2i_text_strip_controls(name);
    printf("%-16s %s\n", "path", s->path);
    printf("%-16s %s\n", "name", name);
    printf("%-16s %s, %d layers, width %d, %d heads (%d for keys and values) of %d\n",
           "architecture", m->architecture, m->n_layers, m->d_model, m->n_heads, m->n_kv_heads,
           m->d_head);
    if (m->n_experts > 0)
        printf("%-16s %d, %d at work per token\n", "experts", m->n_experts, m->n_active_experts);
    printf("%-16s %.1f million", "parameters", (double)m->n_parameters * 1e-6);
    if (m->n_active_parameters != m->n_parameters)
        printf(", %.1f million per token", (double)m->n_active_parameters * 1e-6);
    printf("\n%-16s %s\n", "weights", m->weight_types);
    printf("%-16s %d tokens, context of %d\n", "vocabulary", m->n_vocab, m->n_context);
    printf("%-16s %s%s\n", "conversation",
           m->has_chat_template ? "has a chat template" : "no chat template",
           m->can_think ? ", can think" : "");
    printf("%-16s file %.1f MB; read per token %.1f MB; cache %.1f kB per token, %.1f MB for the "
           "whole context\n",
           "memory", (double)m->file_bytes * 1e-6, (double)m->bytes_per_token * 1e-6,
           (double)m->cache_bytes_per_token * 1e-3,
           (double)m->cache_bytes_per_token * m->n_context * 1e-6);
    printf("%-16s %s\n", "kernels", m->cpu_level);
    return R2I_EXIT_OK;
}

int r2i_show_command(r2i_program *p) {
    r2i_session s = { .program = p };
    r2_error err = { R2_OK, "" };
    const char *path;
    r2_status status = r2i_model_resolve(&path, p, word_or_flag(p), &err);
    if (status == R2_OK && r2_adapter_is_at(path)) return r2i_show_adapter(p, path);
    if (status == R2_OK) status = r2i_session_open_model(&s, p, path, &err);
    int code;
    if (status == R2_OK) {
        code = p->options->wants_json ? print_info_json(&s) : print_info(&s);
    } else {
        code = r2i_program_fail(p, status, &err);
        if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
    }
    r2i_session_close(&s);
    return code;
}
