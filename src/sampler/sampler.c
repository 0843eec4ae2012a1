#include "sampler/sampler.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/failure.h"
#include "base/random.h"

struct r2i_sampler {
    int32_t n_vocab;
    r2i_softmax *softmax;
    float *adjusted;           /* [n_vocab] */
    float *shares;             /* [n_vocab] probabilities at the temperature */
    r2i_candidate *candidates; /* [n_vocab] */
    double *weights;           /* [n_vocab] of kept candidates, the likeliest 1; or block sums */
    uint32_t *seen;            /* bit per token, all clear between draws */
};

r2_status r2i_sampler_create(r2i_sampler **out, int32_t n_vocab, r2i_softmax *softmax,
                             r2i_arena *arena, r2_error *err) {
    const size_t n = (size_t)n_vocab;
    r2i_sampler *s = R2I_ARENA_NEW(arena, r2i_sampler);
    *out = NULL;
    if (s == NULL) return r2i_fail(err, R2_E_NOMEM, "no memory for a sampler");
    s->n_vocab = n_vocab;
    s->softmax = softmax;
    s->adjusted = R2I_ARENA_ARRAY(arena, float, n);
    s->shares = R2I_ARENA_ARRAY(arena, float, n);
    s->candidates = R2I_ARENA_ARRAY(arena, r2i_candidate, n);
    s->weights = R2I_ARENA_ARRAY(arena, double, n);
    s->seen = R2I_ARENA_ARRAY(arena, uint32_t, n / 32 + 1);
    if (s->adjusted == NULL || s->shares == NULL || s->candidates == NULL || s->weights == NULL ||
        s->seen == NULL) {
        return r2i_fail(err, R2_E_NOMEM, "no memory for a sampler of %d tokens", n_vocab);
    }
    *out = s;
    return R2_OK;
}

int32_t r2i_largest_logit(const float *logits, int32_t n_vocab) {
    enum { LANES = 16 };
    float best[LANES];
    int32_t i = 0, at = -1;
    for (int j = 0; j < LANES; j++)
        best[j] = -INFINITY;
    for (; i + LANES <= n_vocab; i += LANES) {
        for (int j = 0; j < LANES; j++)
            best[j] = logits[i + j] > best[j] ? logits[i + j] : best[j];
    }
    float largest = -INFINITY;
    for (int j = 0; j < LANES; j++)
        largest = best[j] > largest ? best[j] : largest;
    for (; i < n_vocab; i++)
        largest = logits[i] > largest ? logits[i] : largest;
    if (largest == -INFINITY) return -1;
    for (i = 0; i < n_vocab && at < 0; i++)
        at = logits[i] == largest ? i : -1;
    return at;
}

/* a before b: larger logit, then lower token. */
static bool is_before(r2i_candidate a, r2i_candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

int32_t r2i_top_logits(const float *logits, int32_t n_vocab, r2i_candidate *out, int32_t n) {
    int32_t count = 0;
    for (int32_t i = 0; i < n_vocab; i++) {
        const r2i_candidate c = { i, logits[i] };
        if (c.logit != c.logit) continue; /* no number, no rank */
        if (count == n && (n == 0 || !(c.logit > out[n - 1].logit))) continue;
        int32_t at = count < n ? count++ : n - 1;
        for (; at > 0 && is_before(c, out[at - 1]); at--)
            out[at] = out[at - 1];
        out[at] = c;
    }
    return count;
}

/* Keskar et al. 2019: scores of tokens seen are pushed towards unlikely, whatever their sign. */
static void penalize_repetition(r2i_sampler *s, float penalty, const r2i_draw *draw) {
    for (int32_t i = 0; i < draw->n_recent; i++) {
        const uint32_t token = (uint32_t)draw->recent[i], bit = 1u << token % 32;
        if ((s->seen[token / 32] & bit) != 0) continue;
        s->seen[token / 32] |= bit;
        float *logit = &s->adjusted[token];
        *logit = *logit > 0 ? *logit / penalty : *logit * penalty;
    }
    for (int32_t i = 0; i < draw->n_recent; i++)
        s->seen[draw->recent[i] / 32] = 0;
}

static void penalize_presence(r2i_sampler *s, const r2i_sampling *sampling, const r2i_draw *draw) {
    for (int32_t i = 0; i < draw->n_generated; i++) {
        const uint32_t token = (uint32_t)draw->generated[i], bit = 1u << token % 32;
        s->adjusted[token] -= sampling->frequency_penalty;
        if ((s->seen[token / 32] & bit) == 0) s->adjusted[token] -= sampling->presence_penalty;
        s->seen[token / 32] |= bit;
    }
    for (int32_t i = 0; i < draw->n_generated; i++)
        s->seen[draw->generated[i] / 32] = 0;
}

static void apply_mask(r2i_sampler *s, const uint32_t *allowed) {
    for (int32_t i = 0; i < s->n_vocab; i++) {
        if ((allowed[i / 32] >> i % 32 & 1u) == 0) s->adjusted[i] = -INFINITY;
    }
}

/* Logits after biases, penalties and mask; the caller's own row when nothing changes it. */
static const float *adjust(r2i_sampler *s, const r2i_sampling *p, const r2i_draw *draw) {
    const bool has_repetition =
        p->repetition_penalty > 0 && p->repetition_penalty != 1 && draw->n_recent > 0;
    const bool has_presence =
        (p->presence_penalty != 0 || p->frequency_penalty != 0) && draw->n_generated > 0;
    if (!has_repetition && !has_presence && p->n_biases == 0 && draw->allowed == NULL)
        return draw->logits;
    memcpy(s->adjusted, draw->logits, (size_t)s->n_vocab * sizeof *s->adjusted);
    for (int32_t i = 0; i < p->n_biases; i++)
        s->adjusted[p->biases[i].token] += p->biases[i].bias;
    if (has_repetition) penalize_repetition(s, p->repetition_penalty, draw);
    if (has_presence) penalize_presence(s, p, draw);
    if (draw->allowed != NULL) apply_mask(s, draw->allowed);
    return s->adjusted;
}

/* ---- candidates in order of likelihood, as a binary heap ---- */

static void sift_down(r2i_candidate *heap, int32_t n, int32_t at) {
    const r2i_candidate moved = heap[at];
    for (;;) {
        int32_t child = 2 * at + 1;
        if (child >= n) break;
        if (child + 1 < n && is_before(heap[child + 1], heap[child])) child++;
        if (!is_before(heap[child], moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

/* Tokens with larger logits become candidates; returns how many. */
static int32_t collect(r2i_sampler *s, const float *logits, float least) {
    enum { BLOCK = 32 };
    int32_t n = 0;
    for (int32_t begin = 0; begin < s->n_vocab; begin += BLOCK) {
        const int32_t end = s->n_vocab - begin < BLOCK ? s->n_vocab : begin + BLOCK;
        int has_one = 0; /* mostly not: looked at as vectors */
        for (int32_t i = begin; i < end; i++)
            has_one |= logits[i] > least;
        for (int32_t i = begin; has_one && i < end; i++) {
            if (logits[i] > least) s->candidates[n++] = (r2i_candidate){ i, logits[i] };
        }
    }
    return n;
}

/* Takes the best of the n - n_popped left and puts it behind them: the i-th best of all ends up at
 * heap[n - 1 - i]. */
static r2i_candidate pop_best(r2i_candidate *heap, int32_t n, int32_t n_popped) {
    const r2i_candidate best = heap[0];
    const int32_t last = n - 1 - n_popped;
    heap[0] = heap[last];
    heap[last] = best;
    sift_down(heap, last, 0);
    return best;
}

/* ---- draws ---- */

/* Place at which `left` of the weights' sum is used up. */
static int32_t pick(const double *weights, int32_t n, double *left) {
    for (int32_t i = 0; i < n - 1; i++) {
        if (*left < weights[i]) return i;
        *left -= weights[i];
    }
    return n - 1; /* rounding left a rest */
}

static double weight_of(float logit, float largest, float temperature) {
    return exp(((double)logit - (double)largest) / (double)temperature);
}

/* Enough candidates for whatever top-k, top-p and min-p let through; `needed` is top-p's share of
 * all weights.  Nearly all of a vocabulary weighs hardly anything; ordering it whole takes longer
 * than computing its logits. */
static int32_t collect_enough(r2i_sampler *s, const r2i_sampling *p, const float *logits,
                              float largest, double needed) {
    static const float steps[] = { 5.5F, 9.7F, 15.2F, INFINITY }; /* 1/256, 1/16384, ... */
    int32_t n = 0;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        double sum = 0;
        n = collect(s, logits, largest - steps[i] * p->temperature);
        if (p->top_k > 0 && n >= p->top_k) break;
        if (p->top_k > 0) continue; /* top-p's share is one of all k */
        if (p->min_p > 0 && expf(-steps[i]) < p->min_p) break;
        for (int32_t c = 0; c < n && needed < INFINITY; c++)
            sum += weight_of(s->candidates[c].logit, largest, p->temperature);
        if (sum >= needed) break;
    }
    return n;
}

/* Weight of the k likeliest, which are popped. */
static double weigh_popped(r2i_sampler *s, const r2i_sampling *p, int32_t n, int32_t k,
                           float largest) {
    double sum = 0;
    for (int32_t i = 0; i < k; i++)
        sum += weight_of(pop_best(s->candidates, n, i).logit, largest, p->temperature);
    return sum;
}

/* softmax((logits - largest) / temperature); what is no number has no share. */
static void share_out(r2i_sampler *s, const float *logits, float largest, float temperature) {
    for (int32_t i = 0; i < s->n_vocab; i++) {
        const float x = (logits[i] - largest) / temperature;
        s->shares[i] = x == x ? x : -INFINITY;
    }
    s->softmax(s->shares, s->shares, s->n_vocab);
}

/* Pops candidates, best first, as far as the filters let them through, and draws among these. */
static int32_t draw_filtered(r2i_sampler *s, const r2i_sampling *p, const float *logits,
                             int32_t likeliest, double u) {
    const float largest = logits[likeliest];
    const bool has_share = p->top_p > 0 && p->top_p < 1;
    double needed = INFINITY, sum = 0;
    if (has_share && p->top_k == 0) {
        share_out(s, logits, largest, p->temperature);
        needed = (double)p->top_p / (double)s->shares[likeliest]; /* whose weight is 1 */
    }
    const int32_t n = collect_enough(s, p, logits, largest, needed);
    const int32_t k = p->top_k > n ? n : p->top_k, most = k > 0 ? k : n;
    for (int32_t i = n / 2 - 1; i >= 0; i--)
        sift_down(s->candidates, n, i);
    const double popped = weigh_popped(s, p, n, k, largest);
    if (has_share && k > 0) needed = (double)p->top_p * popped;
    int32_t kept = 0;
    while (kept < most) {
        const r2i_candidate c =
            k > 0 ? s->candidates[n - 1 - kept] : pop_best(s->candidates, n, kept);
        const double weight = weight_of(c.logit, largest, p->temperature);
        if (kept > 0 && (sum >= needed || weight < (double)p->min_p)) break;
        s->weights[kept++] = weight;
        sum += weight;
    }
    double left = u * sum;
    return s->candidates[n - 1 - pick(s->weights, kept, &left)].token;
}

static double sum_of(const float *shares, int32_t n) {
    enum { CHAINS = 4 };
    double part[CHAINS] = { 0 };
    int32_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS) {
        for (int j = 0; j < CHAINS; j++)
            part[j] += (double)shares[i + j];
    }
    for (; i < n; i++)
        part[0] += (double)shares[i];
    return (part[0] + part[1]) + (part[2] + part[3]);
}

/* Draws among all: first a block of tokens, then one of it. */
static int32_t draw_any(r2i_sampler *s, int32_t likeliest, double u) {
    enum { BLOCK = 256 };
    const int32_t n_blocks = (s->n_vocab + BLOCK - 1) / BLOCK;
    double sum = 0;
    for (int32_t b = 0; b < n_blocks; b++) {
        const int32_t n_left = s->n_vocab - b * BLOCK;
        s->weights[b] = sum_of(s->shares + b * BLOCK, n_left < BLOCK ? n_left : BLOCK);
        sum += s->weights[b];
    }
    double left = u * sum;
    const int32_t block = pick(s->weights, n_blocks, &left);
    int32_t at = -1;
    for (int32_t i = block * BLOCK; i < s->n_vocab && (i < (block + 1) * BLOCK || at < 0); i++) {
        if (s->shares[i] <= 0) continue;
        at = i;
        if (left < (double)s->shares[i]) break;
        left -= (double)s->shares[i];
    }
    return at >= 0 ? at : likeliest;
}

int32_t r2i_sampler_draw(r2i_sampler *s, const r2i_sampling *p, const r2i_draw *draw) {
    const float *logits = adjust(s, p, draw);
    const int32_t likeliest = r2i_largest_logit(logits, s->n_vocab);
    /* Where denormal numbers count as none, dividing by one gives none either. */
    if (likeliest < 0 || !isfinite(logits[likeliest]) || p->temperature < FLT_MIN) {
        return likeliest >= 0 && isfinite(logits[likeliest]) ? likeliest : -1;
    }
    const double u = r2i_random_unit(p->seed, 0, draw->position);
    const bool is_filtered = p->top_k > 0 || (p->top_p > 0 && p->top_p < 1) || p->min_p > 0;
    if (is_filtered) return draw_filtered(s, p, logits, likeliest, u);
    share_out(s, logits, logits[likeliest], p->temperature);
    return draw_any(s, likeliest, u);
}
