#include "train/ranks/lent_values.h"

#include "base/failure.h"
#include "train/ranks/expert_ranks.h"

enum { NOTHING_MORE = -1 };

static void ask(const r2i_lent_values *lent, int32_t rank, int32_t parameter) {
    r2i_message message;
    r2i_ranks_send(lent->ranks, &message, rank, R2I_TAG_LENDING, &parameter, sizeof parameter);
    r2i_ranks_wait(lent->ranks, &message, 1);
}

void r2i_lent_values_close(r2i_lent_values *lent) {
    for (int32_t r = 1; r < r2i_ranks_count(lent->ranks); r++)
        ask(lent, r, NOTHING_MORE);
    if (lent->values != NULL)
        r2i_heap_give(lent->heap, lent->values, lent->cap * sizeof *lent->values);
    lent->values = NULL;
}

r2_status r2i_lent_values_open(r2i_lent_values *out, r2_ranks *ranks,
                               const r2i_parameters *parameters, const r2i_partition *partition,
                               r2i_heap *heap, r2_error *err) {
    *out = (r2i_lent_values){
        .parameters = parameters, .partition = partition, .heap = heap, .parameter = -1
    };
    if (ranks == NULL || !partition->has_own_experts) return R2_OK;
    out->ranks = ranks;
    for (int32_t i = 0; i < parameters->n; i++) {
        const size_t n = r2i_parameter_size(&parameters->list[i]);
        if (parameters->list[i].expert >= 0 && n > out->cap) out->cap = n;
    }
    out->values = r2i_heap_take(heap, out->cap * sizeof *out->values);
    if (out->values != NULL) return R2_OK;
    r2i_lent_values_close(out);
    return r2i_fail(err, R2_E_NOMEM, "no memory for an expert of another rank");
}

const float *r2i_lent_values_of(r2i_lent_values *lent, int32_t i) {
    const r2i_parameter *p = &lent->parameters->list[i];
    r2i_message message;
    if (lent->ranks == NULL || r2i_partition_has_values(lent->partition, lent->parameters, i))
        return lent->parameters->values + p->first;
    if (lent->parameter == i) return lent->values;
    const int32_t owner =
        r2i_expert_owner(lent->parameters->config->n_experts, p->expert, lent->ranks->n);
    ask(lent, owner, i);
    r2i_ranks_receive(lent->ranks, &message, owner, R2I_TAG_LENDING, lent->values,
                      r2i_parameter_size(p) * sizeof *lent->values);
    r2i_ranks_wait(lent->ranks, &message, 1);
    lent->parameter = i;
    return lent->values;
}

void r2i_lend_values(r2_ranks *ranks, const r2i_parameters *parameters) {
    for (;;) {
        int32_t i = NOTHING_MORE;
        r2i_message message;
        r2i_ranks_receive(ranks, &message, 0, R2I_TAG_LENDING, &i, sizeof i);
        r2i_ranks_wait(ranks, &message, 1);
        if (i < 0 || i >= parameters->n || r2_ranks_is_lost(ranks)) return;
        const r2i_parameter *p = &parameters->list[i];
        r2i_ranks_send(ranks, &message, 0, R2I_TAG_LENDING, parameters->values + p->first,
                       r2i_parameter_size(p) * sizeof *parameters->values);
        r2i_ranks_wait(ranks, &message, 1);
    }
}
