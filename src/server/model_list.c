/* model_list.c - GET /v1/models and /v1/models/{id}: one body for the clients of OpenAI, of Anthropic, and for
 * Codex, which reads a catalog of its own kind from it. */
#define _POSIX_C_SOURCE 200809L /* gmtime_r */
#include <string.h>
#include <time.h>

#include "server/about.h"

enum { TIME_BYTES = 32, CODEX_OUTPUT_BYTES = 10000 };

static json_t *describe_meta(const r2_model_info *info) {
    return json_pack("{s:i, s:I, s:I, s:i, s:i, s:s, s:s}", "n_ctx_train", info->n_context,
                     "n_params", (json_int_t)info->n_parameters, "size",
                     (json_int_t)info->file_bytes, "n_vocab", info->n_vocab, "n_embd",
                     info->d_model, "architecture", info->architecture, "weights",
                     info->weight_types);
}

static json_t *describe_model(const r2i_server *s) {
    const char *id = s->options->model_id;
    const time_t created = (time_t)s->start_seconds;
    const int32_t n_context = s->options->n_context;
    char created_at[TIME_BYTES] = "";
    struct tm utc;
    r2_model_info info;
    r2_model_get_info(s->options->model, &info);
    if (gmtime_r(&created, &utc) != NULL)
        (void)strftime(created_at, sizeof created_at, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:o}", "id", id, "object",
                     "model", "created", (json_int_t)s->start_seconds, "owned_by", "r2", "type",
                     "model", "display_name", id, "created_at", created_at, "lifecycle", "active",
                     "max_input_tokens", n_context, "max_tokens", n_context, "meta",
                     describe_meta(&info));
}

/* ---- the catalog ---- */

static json_t *describe_levels(bool can_think) {
    static const char *const levels[][2] = { { "low", "Short thoughts" },
                                             { "medium", "Longer thoughts" },
                                             { "high", "Long thoughts" } };
    json_t *list = json_array();
    for (size_t i = 0; can_think && i < sizeof levels / sizeof *levels; i++)
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s}", "effort", levels[i][0], "description", levels[i][1]));
    return list;
}

/* All fields that Codex' reader insists on. */
static json_t *describe_for_codex(const r2i_server *s) {
    static const char instructions[] =
        "You are a coding assistant in the user's terminal. Work with the tools you are given, "
        "change files only as asked, and say briefly what you did.";
    r2_model_info info;
    r2_model_get_info(s->options->model, &info);
    json_t *model = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:i}", "slug", s->options->model_id, "display_name",
        s->options->model_id, "description", info.weight_types, "base_instructions", instructions,
        "shell_type", "shell_command", "visibility", "list", "supported_in_api", 1, "priority", 0);
    json_t *abilities = json_pack(
        "{s:o, s:b, s:b, s:b, s:[], s:[s], s:{s:s, s:i}, s:i, s:n, s:n, s:n}",
        "supported_reasoning_levels", describe_levels(info.can_think),
        "supports_reasoning_summaries", 0, "support_verbosity", 0, "supports_parallel_tool_calls",
        1, "experimental_supported_tools", "input_modalities", "text", "truncation_policy", "mode",
        "bytes", "limit", CODEX_OUTPUT_BYTES, "context_window", s->options->n_context, "upgrade",
        "default_verbosity", "apply_patch_tool_type");
    if (info.can_think)
        (void)json_object_set_new(abilities, "default_reasoning_level", json_string("medium"));
    (void)json_object_update(model, abilities);
    json_decref(abilities);
    return model;
}

/* ---- routes ---- */

void r2i_list_models(r2i_server *s, struct evhttp_request *request, const char *path) {
    const char *id = s->options->model_id;
    (void)path;
    r2i_reply_json(s, request, "/v1/models",
                   json_pack("{s:s, s:[o], s:b, s:s, s:s, s:[o]}", "object", "list", "data",
                             describe_model(s), "has_more", 0, "first_id", id, "last_id", id,
                             "models", describe_for_codex(s)));
}

static int hex_digit(char c) {
    const char *digits = "0123456789abcdef0123456789ABCDEF", *at = strchr(digits, c);
    return c != '\0' && at != NULL ? (int)((at - digits) % 16) : -1;
}

/* Is this text, with %2F and the like decoded, the model's name? */
static bool is_name_of_model(const r2i_server *s, const char *text) {
    const char *id = s->options->model_id;
    for (; *text != '\0' && *id != '\0'; text++, id++) {
        char c = *text;
        if (c == '%' && hex_digit(text[1]) >= 0 && hex_digit(text[2]) >= 0) {
            c = (char)(hex_digit(text[1]) * 16 + hex_digit(text[2]));
            text += 2;
        }
        if (c != *id) return false;
    }
    return *text == '\0' && *id == '\0';
}

void r2i_show_model(r2i_server *s, struct evhttp_request *request, const char *path) {
    if (is_name_of_model(s, path + strlen("/models/")))
        r2i_reply_json(s, request, "/v1/models/{id}", describe_model(s));
    else
        r2i_reply_refuse_text(s, request, "/v1/models/{id}", 404, "model_not_found",
                              "there is no such model");
}
