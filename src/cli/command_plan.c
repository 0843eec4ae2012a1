/* command_plan.c - `r2lm plan`: what a model needs, whether it fits, how fast it can be. */
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/failure.h"
#include "cli/amount_text.h"
#include "cli/model_find.h"
#include "cli/read_rate.h"
#include "r2lm/convert.h"

typedef struct {
    r2_plan_options options;
    r2_plan_result plan;
    const char *path;
} planning;

static const char *const fit_names[] = { "unknown", "packed", "no-pack", "no" };

/* Planned twice: which type to measure products of is known after the first time. */
static r2_status make(planning *g, r2i_program *p, r2_error *err) {
    const r2i_options *o = p->options;
    const bool has_word = p->arguments.n_words > 0 && !p->arguments.has_model_flag;
    R2I_TRY(r2i_model_resolve(&g->path, p, has_word ? p->arguments.words[0] : o->model, err));
    const double memory = o->memory > 0 ? o->memory * 1e9 : (double)r2i_available_memory();
    g->options = (r2_plan_options){ .type = o->type,
                                    .cache_type = o->cache_type,
                                    .n_context = o->ctx_size,
                                    .n_sequences = o->streams,
                                    .n_threads = o->threads,
                                    .memory_bytes = (int64_t)memory };
    R2I_TRY(r2_plan(&g->plan, g->path, &g->options, err));
    if (!o->measures) return R2_OK;
    const int32_t n_threads = o->threads > 0 ? o->threads : r2i_cpu_count();
    g->options.read_bytes_per_s = r2i_read_rate(n_threads, 0.3) * 1e9;
    R2I_TRY(
        r2_measure_products(&g->options.products_per_s, g->plan.main_type, n_threads, 0.2, err));
    return r2_plan(&g->plan, g->path, &g->options, err);
}

/* ---- JSON ---- */

static int print_json(r2i_program *p, const planning *g) {
    const r2_plan_result *plan = &g->plan;
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {
        { "layers", plan->n_layers },
        { "dense_layers", plan->n_dense_layers },
        { "d_model", plan->d_model },
        { "experts", plan->n_experts },
        { "active_experts", plan->n_active_experts },
        { "context", plan->n_context_made_for },
        { "parameters", plan->n_parameters },
        { "active_parameters", plan->n_active_parameters },
        { "weight_bytes", plan->weight_bytes },
        { "bytes_per_token", plan->bytes_per_token },
        { "cache_bytes_per_token", plan->cache_bytes_per_token },
        { "planned_context", plan->n_context },
        { "streams", plan->n_sequences },
        { "cache_bytes", plan->cache_bytes },
        { "scratch_bytes", plan->scratch_bytes },
        { "packed_bytes", plan->packed_bytes },
        { "unpacked_bytes", plan->unpacked_bytes },
        { "memory_bytes", g->options.memory_bytes },
        { "longest_context", plan->longest_context },
    };
    const struct {
        const char *key;
        double value;
    } rates[] = {
        { "read_gb_s", g->options.read_bytes_per_s * 1e-9 },
        { "products_gops", g->options.products_per_s * 1e-9 },
        { "decode_tok_s", plan->decode_tok_s },
        { "full_decode_tok_s", plan->full_decode_tok_s },
        { "batch_decode_tok_s", plan->batch_decode_tok_s },
        { "prefill_tok_s", plan->prefill_tok_s },
    };
    json_t *o = json_pack("{s:s, s:s, s:s, s:b, s:s}", "path", g->path, "architecture",
                          plan->architecture, "types", plan->types, "is_assumed", plan->is_assumed,
                          "fit", fit_names[plan->fit]);
    json_t *parts = json_object();
    for (int part = 0; part < R2_N_PARTS; part++) {
        (void)json_object_set_new(parts, r2_part_name((r2_part)part),
                                  json_pack("{s:I, s:I}", "parameters",
                                            (json_int_t)plan->parts[part].n_parameters, "bytes",
                                            (json_int_t)plan->parts[part].n_bytes));
    }
    (void)json_object_set_new(o, "parts", parts);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        (void)json_object_set_new(o, numbers[i].key, json_integer(numbers[i].value));
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++)
        (void)json_object_set_new(o, rates[i].key, json_real(rates[i].value));
    return r2i_program_print_json(p, o);
}

/* ---- text ---- */

/* Three digits, and what is before the point. */
static const char *as_rate(char room[32], double x) {
    (void)snprintf(room, 32, "%.*f", x < 10 ? 2 : x < 100 ? 1 : 0, x);
    return room;
}

static void print_parts(const r2_plan_result *plan) {
    static const char *const names[R2_N_PARTS] = {
        "embedding", "attention",   "dense layers",     "experts",          "shared experts",
        "router",    "output head", "norms and others", "prediction module"
    };
    for (int part = 0; part < R2_N_PARTS; part++) {
        char count[32], bytes[32];
        if (plan->parts[part].n_bytes == 0) continue;
        printf("  %-18s %16s %12s\n", names[part],
               r2i_amount_count(count, plan->parts[part].n_parameters),
               r2i_amount_bytes(bytes, plan->parts[part].n_bytes));
    }
}

static void print_fit(const planning *g) {
    const r2_plan_result *plan = &g->plan;
    char packed[32], unpacked[32], memory[32];
    (void)r2i_amount_bytes(packed, plan->packed_bytes);
    (void)r2i_amount_bytes(unpacked, plan->unpacked_bytes);
    (void)r2i_amount_bytes(memory, g->options.memory_bytes);
    printf("%-12s %s packed for the processor, %s with --no-pack; available %s: ", "memory", packed,
           unpacked, memory);
    switch (plan->fit) {
    case R2_FIT_PACKED:
        printf("fits packed");
        break;
    case R2_FIT_UNPACKED:
        printf("fits with --no-pack");
        break;
    case R2_FIT_NONE:
        printf("does not fit");
        break;
    case R2_FIT_UNKNOWN:
        printf("unknown");
        break;
    }
    if (plan->longest_context > 0)
        printf("\n%-12s up to %d tokens%s fit\n", "context", plan->longest_context,
               plan->n_sequences > 1 ? " of each stream" : "");
    else
        printf("\n");
}

static void print_speed(const planning *g) {
    const r2_plan_result *plan = &g->plan;
    char a[32], b[32];
    if (g->options.read_bytes_per_s <= 0) return;
    printf("%-12s at most %s tok/s, %s behind %d tokens of context", "decode",
           as_rate(a, plan->decode_tok_s), as_rate(b, plan->full_decode_tok_s), plan->n_context);
    if (plan->n_sequences > 1)
        printf("; %d streams together %s", plan->n_sequences, as_rate(a, plan->batch_decode_tok_s));
    printf(" (memory read at %.1f GB/s%s)\n", g->options.read_bytes_per_s * 1e-9,
           plan->fit != R2_FIT_NONE ? "" : ", had it room");
    printf("%-12s at most %s tok/s (%.0f billion products per second)\n", "prefill",
           as_rate(a, plan->prefill_tok_s), g->options.products_per_s * 1e-9);
}

static int print_text(const planning *g) {
    const r2_plan_result *plan = &g->plan;
    char a[32], b[32], c[32];
    printf("%-12s %s, %d layers of width %d", "model", plan->architecture, plan->n_layers,
           plan->d_model);
    if (plan->n_experts > 0)
        printf(", %d of %d experts per token (%d layer%s without)", plan->n_active_experts,
               plan->n_experts, plan->n_dense_layers, plan->n_dense_layers == 1 ? "" : "s");
    printf("\n%-12s %s, %s at work per token\n", "parameters",
           r2i_amount_count(a, plan->n_parameters), r2i_amount_count(b, plan->n_active_parameters));
    printf("%-12s %s: %s%s; read per token %s\n", "weights",
           r2i_amount_bytes(a, plan->weight_bytes), plan->types,
           plan->is_assumed ? " (assumed)" : "", r2i_amount_bytes(b, plan->bytes_per_token));
    print_parts(plan);
    printf("%-12s %lld bytes per token; %s for %d x %d tokens; scratch about %s\n", "cache",
           (long long)plan->cache_bytes_per_token, r2i_amount_bytes(a, plan->cache_bytes),
           plan->n_sequences, plan->n_context, r2i_amount_bytes(c, plan->scratch_bytes));
    print_fit(g);
    print_speed(g);
    return R2I_EXIT_OK;
}

int r2i_plan_command(r2i_program *p) {
    planning g = { .path = NULL };
    r2_error err = { R2_OK, "" };
    const r2_status status = make(&g, p, &err);
    if (status == R2_OK) return p->options->wants_json ? print_json(p, &g) : print_text(&g);
    const int code = r2i_program_fail(p, status, &err);
    if (status == R2_E_NOT_FOUND) r2i_models_hint(p);
    return code;
}
