#include "train/lora/lora_parameters.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/failure.h"
#include "base/hash.h"
#include "base/random.h"
#include "model/adapter.h"

enum { ALIGN_FLOATS = 16, MAX_TARGETS_BYTES = 4096, LIST_BYTES = 200 };

/* Those that adapters can change, in the order of a layer. */
static const r2i_role roles[] = { R2I_ROLE_Q_A,        R2I_ROLE_Q_B,         R2I_ROLE_Q,
                                  R2I_ROLE_KV_A,       R2I_ROLE_K,           R2I_ROLE_V,
                                  R2I_ROLE_O,          R2I_ROLE_GATE,        R2I_ROLE_UP,
                                  R2I_ROLE_DOWN,       R2I_ROLE_SHARED_GATE, R2I_ROLE_SHARED_UP,
                                  R2I_ROLE_SHARED_DOWN };
enum { N_ROLES = sizeof roles / sizeof *roles };

typedef struct {
    r2i_parameters *p;
    r2i_lora_parameters *lora;
    r2i_arena *arena;
    r2_error *err;
} builder;

/* ---- which matrices ---- */

/* Name of the matrix in a Hugging Face checkpoint, without ".weight". */
static void module_name(char out[R2I_TENSOR_NAME_BYTES], r2i_role role, int32_t layer) {
    r2i_role_name(out, R2I_NAMES_HF, role, layer);
    out[strlen(out) - strlen(".weight")] = '\0';
}

/* Is `name`, or its end behind a dot, the n bytes at `target`? */
static bool is_named(const char *name, const char *target, size_t n) {
    const size_t n_name = strlen(name);
    if (n > n_name || memcmp(name + n_name - n, target, n) != 0) return false;
    return n == n_name || name[n_name - n - 1] == '.';
}

const char *r2i_lora_next_target(const char *list, size_t *n) {
    const char *at = list + strspn(list, ", ");
    *n = strcspn(at, ", ");
    return *n > 0 ? at : NULL;
}

static bool is_all(const char *targets) {
    return strcmp(targets, "all-linear") == 0;
}

static bool is_wanted(const char *targets, const char *name, r2i_role role) {
    const char *target;
    size_t n;
    if (is_all(targets)) return role != R2I_ROLE_OUTPUT;
    for (; (target = r2i_lora_next_target(targets, &n)) != NULL; targets = target + n) {
        if (is_named(name, target, n)) return true;
    }
    return false;
}

typedef void (*visit_module)(void *user, const char *name, r2i_role role, int32_t layer,
                             const r2i_matrix *m);

static void visit_modules(const builder *b, visit_module visit, void *user) {
    char name[R2I_TENSOR_NAME_BYTES];
    for (int32_t i = 0; i <= b->p->config->n_layers; i++) {
        const bool is_head = i == b->p->config->n_layers;
        for (size_t k = 0; k < (is_head ? 1 : N_ROLES); k++) {
            const r2i_role role = is_head ? R2I_ROLE_OUTPUT : roles[k];
            module_name(name, role, i);
            const r2i_matrix *m =
                r2i_adapter_find_matrix(b->p->weights, b->p->config, R2I_NAMES_HF, name);
            if (m != NULL) visit(user, name, role, is_head ? -1 : i, m);
        }
    }
}

/* ---- names that fit nothing ---- */

typedef struct {
    const char *target;
    size_t n;
    bool is_found;
    char list[LIST_BYTES]; /* of what there is: "q_proj, k_proj" */
} target_search;

static void search_module(void *user, const char *name, r2i_role role, int32_t layer,
                          const r2i_matrix *m) {
    target_search *s = user;
    const char *dot = strrchr(name, '.'), *last = dot != NULL ? dot + 1 : name;
    const size_t used = strlen(s->list);
    (void)role;
    (void)layer;
    (void)m;
    s->is_found = s->is_found || is_named(name, s->target, s->n);
    if (strstr(s->list, last) == NULL && used + strlen(last) + 3 < sizeof s->list)
        (void)snprintf(s->list + used, sizeof s->list - used, "%s%s", used > 0 ? ", " : "", last);
}

static r2_status check_targets(const builder *b, const char *targets) {
    const char *rest = targets;
    target_search s = { .target = rest };
    if (strlen(targets) > MAX_TARGETS_BYTES || strspn(targets, ", ") == strlen(targets))
        return r2i_fail(b->err, R2_E_ARGUMENT, "lora: expected names of matrices to adapt");
    if (is_all(targets)) return R2_OK;
    for (; (s.target = r2i_lora_next_target(rest, &s.n)) != NULL; rest = s.target + s.n) {
        s.is_found = false;
        visit_modules(b, search_module, &s);
        if (s.is_found) continue;
        return r2i_fail(b->err, R2_E_ARGUMENT,
                        "lora: \"%.*s\" is no matrix that adapters can change; there are %s",
                        (int)r2i_min_size(s.n, 60), s.target, s.list);
    }
    return R2_OK;
}

static r2_status check_rules(const r2i_lora_rules *r, r2_error *err) {
    if (r->rank < 1 || r->rank > R2I_MAX_RANK)
        return r2i_fail(err, R2_E_ARGUMENT, "lora: expected a rank of 1 to %d, found %d",
                        R2I_MAX_RANK, r->rank);
    if (!(fabsf(r->alpha) <= 1e6F) || r->alpha == 0)
        return r2i_fail(err, R2_E_ARGUMENT, "lora: expected an alpha other than 0, up to 1e6");
    return R2_OK;
}

/* ---- the list ---- */

/* Counts (adapted NULL), or adds to the list. */
static void add_module(void *user, const char *name, r2i_role role, int32_t layer,
                       const r2i_matrix *m) {
    const builder *b = user;
    r2i_lora_parameters *lora = b->lora;
    r2i_parameters *p = b->p;
    if (!is_wanted(lora->rules.targets, name, role)) return;
    for (int half = 0; half < 2; half++) {
        const int32_t n_rows = half == 0 ? lora->rules.rank : m->n_rows,
                      n_cols = half == 0 ? m->n_cols : lora->rules.rank;
        const size_t n = (size_t)n_rows * (size_t)n_cols;
        if (lora->adapted != NULL) {
            r2i_parameter *out = &p->list[p->n];
            *out = (r2i_parameter){ .n_rows = n_rows,
                                    .n_cols = n_cols,
                                    .is_hidden = true,
                                    .layer = layer >= 0 ? layer : p->config->n_layers,
                                    .expert = -1,
                                    .first = p->n_values };
            (void)snprintf(out->name, sizeof out->name, "base_model.model.%.62s.lora_%s.weight",
                           name, half == 0 ? "A" : "B");
        }
        p->n++;
        p->n_values += (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    }
    if (lora->adapted != NULL) {
        lora->place_of[m->index] = lora->n;
        lora->adapted[lora->n] = (r2i_adapted_matrix){
            .matrix = m, .role = role, .layer = layer, .parameter = p->n - 2
        };
    }
    lora->n++;
}

/* A as PEFT begins it, uniform within 1 / sqrt(n_cols) (Kaiming with a = sqrt 5). */
static void begin_values(const r2i_parameters *p, uint64_t seed) {
    for (int32_t i = 0; i < p->n; i += 2) {
        const r2i_parameter *a = &p->list[i];
        const uint64_t stream = r2i_hash_bytes(R2I_HASH_SEED, a->name, strlen(a->name));
        const double bound = 1 / sqrt((double)a->n_cols);
        for (size_t k = 0; k < r2i_parameter_size(a); k++)
            p->values[a->first + k] = (float)(bound * (2 * r2i_random_unit(seed, stream, k) - 1));
    }
}

/* ---- memory ---- */

static uint8_t *take_panels(const builder *b, int32_t n_rows, int32_t n_cols) {
    return r2i_arena_push_array(b->arena, (size_t)r2i_div_up_i32(n_rows, R2I_PANEL_ROWS),
                                r2i_panel_bytes(b->lora->layout, n_cols), 64);
}

static bool take_pairs(const builder *b) {
    r2i_lora_parameters *lora = b->lora;
    bool is_there = true;
    for (int32_t i = 0; is_there && i < lora->n; i++) {
        r2i_adapted_matrix *adapted = &lora->adapted[i];
        const r2i_matrix *m = adapted->matrix;
        adapted->panels[0] = take_panels(b, lora->rules.rank, m->n_cols);
        adapted->panels[1] = take_panels(b, m->n_rows, lora->rules.rank);
        lora->pairs[m->index] = (r2i_lora_pair){ .rank = lora->rules.rank,
                                                 .n_rows = m->n_rows,
                                                 .n_cols = m->n_cols,
                                                 .scale = lora->scale,
                                                 .a = adapted->panels[0],
                                                 .b = adapted->panels[1] };
        is_there = adapted->panels[0] != NULL && adapted->panels[1] != NULL;
    }
    return is_there;
}

static r2_status take_lists(const builder *b) {
    r2i_parameters *p = b->p;
    r2i_lora_parameters *lora = b->lora;
    const size_t n_matrices = (size_t)p->weights->n_matrices;
    const char *targets = lora->rules.targets;
    lora->rules.targets = r2i_arena_copy_text(b->arena, targets, strlen(targets));
    lora->pairs = R2I_ARENA_ARRAY(b->arena, r2i_lora_pair, n_matrices);
    lora->place_of = R2I_ARENA_ARRAY(b->arena, int32_t, n_matrices);
    p->list = R2I_ARENA_ARRAY(b->arena, r2i_parameter, (size_t)p->n);
    p->values = r2i_arena_push_array(b->arena, p->n_values, sizeof(float), 64);
    p->gradients = r2i_arena_push_array(b->arena, p->n_values, sizeof(float), 64);
    r2i_adapted_matrix *adapted = R2I_ARENA_ARRAY(b->arena, r2i_adapted_matrix, (size_t)lora->n);
    bool is_there = lora->rules.targets != NULL && lora->pairs != NULL && lora->place_of != NULL &&
                    p->list != NULL && p->values != NULL && p->gradients != NULL && adapted != NULL;
    if (is_there) {
        for (size_t i = 0; i < n_matrices; i++)
            lora->place_of[i] = -1;
        lora->adapted = adapted;
        p->n = lora->n = 0;
        p->n_values = 0;
        builder again = *b;
        visit_modules(b, add_module, &again);
        is_there = take_pairs(b);
    }
    return is_there
               ? R2_OK
               : r2i_fail(b->err, R2_E_NOMEM, "no memory for adapters of %zu numbers", p->n_values);
}

static void hash_matrix(void *user, r2i_matrix *m) {
    uint64_t *hash = user;
    const int32_t shape[] = { m->n_rows, m->n_cols, (int32_t)m->type };
    *hash = r2i_hash_bytes(*hash, shape, sizeof shape);
    *hash = r2i_hash_bytes(*hash, m->stored, r2i_min_size(64, (size_t)m->n_rows * m->row_bytes));
}

r2_status r2i_lora_parameters_create(r2i_parameters *out, const r2i_config *config,
                                     r2i_weights *weights, const r2i_kernels *kernels,
                                     const r2i_lora_rules *rules, r2i_arena *arena, r2_error *err) {
    *out = (r2i_parameters){ .config = config, .weights = weights };
    r2i_lora_parameters *lora = R2I_ARENA_NEW(arena, r2i_lora_parameters);
    builder b = { out, lora, arena, err };
    R2I_TRY(check_rules(rules, err));
    R2I_TRY(check_targets(&b, rules->targets));
    if (lora == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for adapters");
    const double rank = (double)rules->rank;
    *lora = (r2i_lora_parameters){ .rules = *rules,
                                   .scale = (float)((double)rules->alpha /
                                                    (rules->has_root_scale ? sqrt(rank) : rank)),
                                   .kernels = kernels,
                                   .layout = weights->lora_layout };
    visit_modules(&b, add_module, &b);
    R2I_TRY(take_lists(&b));
    begin_values(out, rules->seed);
    lora->fingerprint = R2I_HASH_SEED;
    r2i_weights_visit(weights, config, hash_matrix, &lora->fingerprint);
    out->lora = lora;
    out->first_layer = lora->adapted[0].layer >= 0 ? lora->adapted[0].layer : config->n_layers;
    weights->has_mtp = false;
    r2i_lora_parameters_refresh(out);
    return R2_OK;
}

/* ---- afterwards ---- */

static void pack_half(const r2i_parameters *p, const r2i_parameter *half, uint8_t *panels) {
    const r2i_lora_parameters *lora = p->lora;
    const r2i_matrix m = { .n_rows = half->n_rows,
                           .n_cols = half->n_cols,
                           .type = R2I_TYPE_F32,
                           .layout = lora->layout,
                           .stored = (const uint8_t *)(p->values + half->first),
                           .row_bytes = (size_t)half->n_cols * sizeof(float),
                           .panel_bytes = r2i_panel_bytes(lora->layout, half->n_cols) };
    r2i_matrix_pack(&m, lora->kernels, 0, r2i_div_up_i32(half->n_rows, R2I_PANEL_ROWS), panels);
}

void r2i_lora_parameters_refresh(const r2i_parameters *p) {
    for (int32_t i = 0; i < p->lora->n; i++) {
        const r2i_adapted_matrix *adapted = &p->lora->adapted[i];
        for (int half = 0; half < 2; half++)
            pack_half(p, &p->list[adapted->parameter + half], adapted->panels[half]);
    }
}

const r2i_adapted_matrix *r2i_lora_find(const r2i_parameters *p, const r2i_matrix *m) {
    const int32_t place = m->index >= 0 ? p->lora->place_of[m->index] : -1;
    return place >= 0 ? &p->lora->adapted[place] : NULL;
}
