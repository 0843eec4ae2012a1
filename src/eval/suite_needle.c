/* suite_needle.c - a sentence to be found again in a long text: a grid of lengths by depths.
 *
 * The text is a file's, or sentences that say nothing; where it ends it begins again.  Each cell asks for the
 * numbers of other towns at places of their own. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/random.h"
#include "eval/eval_suite.h"
#include "r2lm/text.h"

enum { DEFAULT_ITEMS = 4, N_DEPTHS = 5, SHORTEST = 512, LONGEST = 4096, ROOM = 128, STREAM = 89 };

static const char filler[] =
    "The road follows the river for a while and then turns away from it. In the morning there is "
    "mist above the fields. A farmer repairs the fence that the wind has blown over. The market "
    "opens "
    "at eight and closes in the early afternoon. Some of the houses are older than the church. "
    "Most "
    "people walk to the station when the weather is good. Rain is expected at the end of the week. "
    "The "
    "library has bought new chairs for its reading room. A dog sleeps in front of the bakery. The "
    "bridge was painted green two years ago. Children play football behind the school. In winter "
    "the "
    "lake is sometimes frozen for days.\n";
static const char *const towns[] = { "Arden",   "Belmar",  "Corvo", "Dunmore", "Elvas",  "Farrow",
                                     "Glenhal", "Harwick", "Ilmen", "Jorvik",  "Kestel", "Lorca" };
enum { N_TOWNS = sizeof towns / sizeof *towns };

typedef struct {
    r2i_eval_load *load;
    const char *text; /* [n_bytes] */
    size_t n_bytes;
    double bytes_per_token;
    r2i_buffer question;
} planting;

/* The end of a sentence or line at or behind a place, so that nothing is cut in two. */
static size_t sentence_end(const planting *p, size_t at) {
    while (at < p->n_bytes && p->text[at] != '\n' &&
           !(p->text[at] == ' ' && at > 0 && p->text[at - 1] == '.'))
        at++;
    return at < p->n_bytes ? at + 1 : p->n_bytes;
}

static r2_status append_text(planting *p, size_t n_bytes, r2_error *err) {
    while (n_bytes > 0) {
        const size_t left = p->n_bytes < n_bytes ? p->n_bytes : sentence_end(p, n_bytes);
        R2I_TRY(r2i_buffer_append(&p->question, p->text, left, err));
        n_bytes = n_bytes > left ? n_bytes - left : 0;
    }
    return R2_OK;
}

static r2_status plant(planting *p, int32_t n_tokens, int32_t depth, int32_t n, r2_error *err) {
    char group[64], id[96], expected[16], say[160];
    const uint64_t place = ((uint64_t)n_tokens * 128 + (uint64_t)depth) * 65536 + (uint64_t)n;
    const uint64_t seed = p->load->options->sampling.seed;
    const char *town = towns[r2i_random_u64(seed, STREAM, 2 * place) % N_TOWNS];
    (void)snprintf(expected, sizeof expected, "%d",
                   (int)(10000 + r2i_random_u64(seed, STREAM, 2 * place + 1) % 90000));
    (void)snprintf(group, sizeof group, "%d tokens, depth %d %%", n_tokens, depth);
    (void)snprintf(id, sizeof id, "%s #%d", group, n);
    const size_t all = (size_t)((n_tokens - ROOM) * p->bytes_per_token),
                 before = all * (size_t)depth / 100;
    r2i_buffer_clear(&p->question);
    R2I_TRY(append_text(p, before, err));
    (void)snprintf(say, sizeof say, "\nThe secret number of %s is %s.\n", town, expected);
    R2I_TRY(r2i_buffer_append_text(&p->question, say, err));
    R2I_TRY(append_text(p, all - before, err));
    (void)snprintf(say, sizeof say,
                   "\n\nWhat is the secret number of %s? Answer with the number alone.", town);
    R2I_TRY(r2i_buffer_append_text(&p->question, say, err));
    const r2i_eval_item item = { .id = r2i_eval_copy(p->load, id),
                                 .group = r2i_eval_copy(p->load, group),
                                 .question = r2i_eval_copy(p->load, p->question.bytes),
                                 .expected = r2i_eval_copy(p->load, expected) };
    return r2i_eval_add(p->load, &item, err);
}

static r2_status plant_all(planting *p, r2_error *err) {
    const r2_eval_options *o = p->load->options;
    r2_model_info info;
    int32_t n_text;
    r2_model_get_info(p->load->model, &info);
    int32_t longest = o->engine.n_context > 0 ? o->engine.n_context : LONGEST;
    if (info.n_context > 0 && longest > info.n_context) longest = info.n_context;
    if (longest < SHORTEST)
        return r2i_fail(err, R2_E_ARGUMENT, "needle: expected a context of %d tokens or more",
                        SHORTEST);
    R2I_TRY(r2_tokenize(p->load->model, p->text, p->n_bytes, 0, NULL, 0, &n_text, err));
    if (n_text < 1) return r2i_fail(err, R2_E_FORMAT, "needle: expected a text, found none");
    p->bytes_per_token = (double)p->n_bytes / n_text;
    for (int32_t length = SHORTEST; length <= longest; length *= 2) {
        for (int32_t d = 0; d < N_DEPTHS; d++) {
            for (int32_t n = 0; n < (o->limit > 0 ? o->limit : DEFAULT_ITEMS); n++)
                R2I_TRY(plant(p, length, d * 100 / (N_DEPTHS - 1), n, err));
        }
    }
    return R2_OK;
}

static r2_status load_grid(r2i_eval_load *load, r2_error *err) {
    const r2_eval_data *data = load->options->data;
    planting p = { .load = load, .text = filler, .n_bytes = sizeof filler - 1 };
    if (load->options->n_data > 0) {
        p.text = data->bytes;
        p.n_bytes = data->n_bytes;
        if (p.n_bytes == 0 || memchr(p.text, 0, p.n_bytes) != NULL)
            return r2i_fail(err, R2_E_FORMAT, "%.120s: expected a text", data->name);
    }
    r2i_buffer_init(&p.question, load->arena->heap, (size_t)64 << 20);
    const r2_status status = plant_all(&p, err);
    r2i_buffer_destroy(&p.question);
    return status;
}

static r2_status judge(r2_grade *grade, const r2i_eval_item *item, const r2i_eval_text *answer,
                       const r2_host *host, r2_error *err) {
    r2_grade_options options = { .kind = R2_GRADE_NUMBER, .expected = item->expected };
    if (host != NULL) options.host = *host;
    return r2_grade_answer(grade, answer->text, answer->n_bytes, &options, err);
}

const r2i_eval_suite r2i_suite_needle = {
    .about = { .name = "needle",
               .about = "a sentence found again in long texts: lengths to 4096 (-c) by five depths",
               .files = "",
               .origin = "",
               .max_new_tokens = 32,
               .has_lenient = true },
    .load = load_grid,
    .judge = judge
};
