/* suite_needle.c - a sentence to be found again in a long text: a grid of lengths by depths.
 *
 * The text is a file's, or sentences that say nothing; where it ends it begins again.  Each cell asks for the
 * numbers of other towns at places of their own. */
#include <stdio.h>
#include <string.h>

#include "base/failure.h"
#include "base/random.h"
#include "eval/suite_load.h"
#include "r2lm/text.h"

enum { DEFAULT_ITEMS = 4, N_DEPTHS = 5, SHORTEST = 512, LONGEST = 4096, ROOM = 128, STREAM = 89 };

typedef struct {
    const char *name, *filler, *fact, *question;
} tongue;

/* The fact and the question have the place of a town; the fact behind it that of a number. */
static const tongue tongues[] = {
    { "en",
      "The road follows the river for a while and then turns away from it. In the morning there is "
      "mist above the fields. A farmer repairs the fence that the wind has blown over. The market "
      "opens "
      "at eight and closes in the early afternoon. Some of the houses are older than the church. "
      "Most "
      "people walk to the station when the weather is good. Rain is expected at the end of the "
      "week. "
      "The "
      "library has bought new chairs for its reading room. A dog sleeps in front of the bakery. "
      "The "
      "bridge was painted green two years ago. Children play football behind the school. In winter "
      "the "
      "lake is sometimes frozen for days.\n",
      "\nThe secret number of %s is %s.\n",
      "\n\nWhat is the secret number of %s? Answer with the number alone." },
    { "zh",
      "这条路沿着河走了一段，然后转向别处。早晨田野上有雾。农夫修好了被风吹倒的篱笆。"
      "市场八点开门，下午很早就关门。有些房子比教堂还老。天气好的时候，大多数人走路去车站。"
      "周末可能会下雨。图书馆的阅览室买了新椅子。一只狗睡在面包店门前。那座桥两年前漆成了绿色。"
      "孩子们在学校后面踢足球。冬天湖面有时会结冰好几天。\n",
      "\n%s 的秘密数字是 %s。\n", "\n\n%s 的秘密数字是多少？只回答这个数字。" },
    { "es",
      "El camino sigue un rato el río y luego se aleja de él. Por la mañana hay niebla sobre los "
      "campos. Un campesino repara la valla que el viento ha tumbado. El mercado abre a las ocho y "
      "cierra a primera hora de la tarde. Algunas casas son más viejas que la iglesia. Casi todos "
      "van a pie a la estación cuando hace buen tiempo. Se espera lluvia para el fin de semana. La "
      "biblioteca ha comprado sillas nuevas para su sala de lectura. Un perro duerme delante de la "
      "panadería. El puente se pintó de verde hace dos años. Los niños juegan al fútbol detrás de "
      "la escuela. En invierno el lago a veces se hiela durante días.\n",
      "\nEl número secreto de %s es %s.\n",
      "\n\n¿Cuál es el número secreto de %s? Responde solo con el número." },
    { "fr",
      "La route suit la rivière un moment, puis s'en éloigne. Le matin, il y a de la brume sur les "
      "champs. Un fermier répare la clôture que le vent a renversée. Le marché ouvre à huit heures "
      "et ferme en début d'après-midi. Certaines maisons sont plus vieilles que l'église. La "
      "plupart des gens vont à pied à la gare quand il fait beau. On attend de la pluie pour la "
      "fin de la semaine. La bibliothèque a acheté de nouvelles chaises pour sa salle de lecture. "
      "Un chien dort devant la boulangerie. Le pont a été peint en vert il y a deux ans. Des "
      "enfants jouent au football derrière l'école. En hiver, le lac est parfois gelé pendant des "
      "jours.\n",
      "\nLe nombre secret de %s est %s.\n",
      "\n\nQuel est le nombre secret de %s ? Réponds par le nombre seul." },
    { "de",
      "Die Straße folgt eine Weile dem Fluss und entfernt sich dann von ihm. Am Morgen liegt Nebel "
      "über den Feldern. Ein Bauer repariert den Zaun, den der Wind umgeworfen hat. Der Markt "
      "öffnet um acht und schließt am frühen Nachmittag. Einige Häuser sind älter als die Kirche. "
      "Bei gutem Wetter gehen die meisten zu Fuß zum Bahnhof. Zum Ende der Woche wird Regen "
      "erwartet. Die Bibliothek hat neue Stühle für ihren Lesesaal gekauft. Vor der Bäckerei "
      "schläft ein Hund. Die Brücke wurde vor zwei Jahren grün gestrichen. Kinder spielen hinter "
      "der Schule Fußball. Im Winter ist der See manchmal tagelang zugefroren.\n",
      "\nDie Geheimzahl von %s ist %s.\n",
      "\n\nWie lautet die Geheimzahl von %s? Antworte nur mit der Zahl." },
};
enum { N_TONGUES = sizeof tongues / sizeof *tongues };

static const char *const towns[] = { "Arden",   "Belmar",  "Corvo", "Dunmore", "Elvas",  "Farrow",
                                     "Glenhal", "Harwick", "Ilmen", "Jorvik",  "Kestel", "Lorca" };
enum { N_TOWNS = sizeof towns / sizeof *towns };

typedef struct {
    r2i_eval_load *load;
    const tongue *tongue;
    int32_t longest;  /* tokens */
    const char *text; /* [n_bytes] */
    size_t n_bytes;
    double bytes_per_token;
    r2i_buffer question;
} planting;

/* The end of a sentence or line at or behind a place, so that nothing is cut in two. */
static size_t sentence_end(const planting *p, size_t at) {
    static const char stop[] = "。"; /* no space follows it */
    while (at < p->n_bytes && p->text[at] != '\n' &&
           !(p->text[at] == ' ' && at > 0 && p->text[at - 1] == '.')) {
        if (at >= sizeof stop - 1 &&
            memcmp(p->text + at - (sizeof stop - 1), stop, sizeof stop - 1) == 0)
            return at;
        at++;
    }
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

/* Puts two texts in the places of %s. */
static void say_filled(char *out, size_t cap, const char *phrase, const char *first,
                       const char *second) {
    const char *a = strstr(phrase, "%s"), *b = strstr(a + 2, "%s");
    const char *const end = b != NULL ? b : a + strlen(a);
    (void)snprintf(out, cap, "%.*s%s%.*s%s%s", (int)(a - phrase), phrase, first, (int)(end - a - 2),
                   a + 2, second, b != NULL ? b + 2 : "");
}

static r2_status plant(planting *p, int32_t n_tokens, int32_t depth, int32_t n, r2_error *err) {
    char group[64], id[96], expected[16], say[160];
    const uint64_t place = ((uint64_t)n_tokens * 128 + (uint64_t)depth) * 65536 + (uint64_t)n;
    const uint64_t seed = p->load->options->sampling.seed;
    const char *town = towns[r2i_random_u64(seed, STREAM, 2 * place) % N_TOWNS];
    (void)snprintf(expected, sizeof expected, "%d",
                   (int)(10000 + r2i_random_u64(seed, STREAM, 2 * place + 1) % 90000));
    (void)snprintf(group, sizeof group, "%d tokens, depth %d %%%s%s", n_tokens, depth,
                   p->tongue == tongues ? "" : ", ", p->tongue == tongues ? "" : p->tongue->name);
    (void)snprintf(id, sizeof id, "%s #%d", group, n);
    const size_t all = (size_t)((n_tokens - ROOM) * p->bytes_per_token),
                 before = all * (size_t)depth / 100;
    r2i_buffer_clear(&p->question);
    R2I_TRY(append_text(p, before, err));
    say_filled(say, sizeof say, p->tongue->fact, town, expected);
    R2I_TRY(r2i_buffer_append_text(&p->question, say, err));
    R2I_TRY(append_text(p, all - before, err));
    say_filled(say, sizeof say, p->tongue->question, town, "");
    R2I_TRY(r2i_buffer_append_text(&p->question, say, err));
    const r2i_eval_item item = { .id = r2i_eval_copy(p->load, id),
                                 .group = r2i_eval_copy(p->load, group),
                                 .question = r2i_eval_copy(p->load, p->question.bytes),
                                 .expected = r2i_eval_copy(p->load, expected) };
    return r2i_eval_add(p->load, &item, err);
}

static r2_status plant_all(planting *p, r2_error *err) {
    const int32_t n_items = p->load->options->limit > 0 ? p->load->options->limit : DEFAULT_ITEMS;
    int32_t n_text;
    R2I_TRY(r2_tokenize(p->load->model, p->text, p->n_bytes, 0, NULL, 0, &n_text, err));
    if (n_text < 1) return r2i_fail(err, R2_E_FORMAT, "needle: expected a text, found none");
    p->bytes_per_token = (double)p->n_bytes / n_text;
    for (int32_t length = SHORTEST; length <= p->longest; length *= 2) {
        for (int32_t d = 0; d < N_DEPTHS; d++) {
            for (int32_t n = 0; n < n_items; n++)
                R2I_TRY(plant(p, length, d * 100 / (N_DEPTHS - 1), n, err));
        }
    }
    return R2_OK;
}

static r2_status plant_in(void *user, const char *language, r2_error *err) {
    planting *p = user;
    const r2_eval_options *o = p->load->options;
    int32_t i = 0;
    while (i < N_TONGUES && strcmp(tongues[i].name, language) != 0)
        i++;
    if (i == N_TONGUES)
        return r2i_fail(err, R2_E_ARGUMENT, "needle: expected en, zh, es, fr or de, found %.40s",
                        language);
    p->tongue = &tongues[i];
    p->text = o->n_data > 0 ? o->data->bytes : tongues[i].filler;
    p->n_bytes = o->n_data > 0 ? o->data->n_bytes : strlen(tongues[i].filler);
    return plant_all(p, err);
}

static r2_status load_grid(r2i_eval_load *load, r2_error *err) {
    const r2_eval_options *o = load->options;
    r2_model_info info;
    planting p = { .load = load };
    if (o->n_data > 0 &&
        (o->data->n_bytes == 0 || memchr(o->data->bytes, 0, o->data->n_bytes) != NULL))
        return r2i_fail(err, R2_E_FORMAT, "%.120s: expected a text", o->data->name);
    r2_model_get_info(load->model, &info);
    p.longest = o->engine.n_context > 0 ? o->engine.n_context : LONGEST;
    if (info.n_context > 0 && p.longest > info.n_context) p.longest = info.n_context;
    if (p.longest < SHORTEST)
        return r2i_fail(err, R2_E_ARGUMENT, "needle: expected a context of %d tokens or more",
                        SHORTEST);
    r2i_buffer_init(&p.question, load->arena->heap, (size_t)64 << 20);
    const r2_status status =
        r2i_eval_each_word(o->languages != NULL ? o->languages : "en", plant_in, &p, err);
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
