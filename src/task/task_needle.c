/* task_needle.c - a number told somewhere in a long text of sentences that say nothing about it. */
#include "task/task_names.h"

enum { N_SUBJECTS = 8, N_DEEDS = 8, N_TIMES = 6, FIRST_BYTES = 1000, MAX_KEYS = 3 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "What is the code of {0}, as told in the text?", "Read the text and find the code of {0}.",
      "Which code belongs to {0}?" },
    { "文中 {0} 的密码是多少？", "阅读文本，找出 {0} 的密码。", "哪个密码属于 {0}？" },
    { "¿Cuál es el código de {0} según el texto?", "Lee el texto y encuentra el código de {0}.",
      "¿Qué código pertenece a {0}?" },
    { "Quel est le code de {0} selon le texte ?", "Lis le texte et trouve le code de {0}.",
      "Quel code appartient à {0} ?" },
    { "Wie lautet der Code von {0} im Text?", "Lies den Text und finde den Code von {0}.",
      "Welcher Code gehört zu {0}?" },
};
static const char *const keys[R2I_N_LANGUAGES] = { "The code of %s is %d. ", "%s 的密码是 %d。",
                                                   "El código de %s es %d. ",
                                                   "Le code de %s est %d. ",
                                                   "Der Code von %s ist %d. " };
static const char *const found[R2I_N_LANGUAGES] = {
    "The text says: ", "文中说：", "El texto dice: ", "Le texte dit : ", "Der Text sagt: "
};
static const char *const times[R2I_N_LANGUAGES][N_TIMES] = {
    { "In the morning", "At noon", "Last winter", "Every Sunday", "Before the rain", "Long ago" },
    { "早上", "中午", "去年冬天", "每个星期天", "下雨之前", "很久以前" },
    { "Por la mañana", "A mediodía", "El invierno pasado", "Cada domingo", "Antes de la lluvia",
      "Hace mucho" },
    { "Le matin", "À midi", "L'hiver dernier", "Chaque dimanche", "Avant la pluie", "Jadis" },
    { "Am Morgen", "Am Mittag", "Im letzten Winter", "Jeden Sonntag", "Vor dem Regen",
      "Vor langer Zeit" },
};

static const char *const subjects[R2I_N_LANGUAGES][N_SUBJECTS] = {
    { "the old baker", "a young sailor", "the teacher", "our neighbour", "the gardener",
      "a painter", "the judge", "a traveller" },
    { "老面包师", "年轻的水手", "老师", "我们的邻居", "园丁", "一位画家", "法官", "一个旅人" },
    { "el viejo panadero", "un joven marinero", "la maestra", "nuestro vecino", "el jardinero",
      "una pintora", "el juez", "un viajero" },
    { "le vieux boulanger", "un jeune marin", "la maîtresse", "notre voisin", "le jardinier",
      "une peintre", "le juge", "un voyageur" },
    { "der alte Bäcker", "ein junger Matrose", "die Lehrerin", "unser Nachbar", "der Gärtner",
      "eine Malerin", "der Richter", "ein Reisender" },
};
/* A verb and what is behind it, the subject between them in German. */
static const char *const deeds[R2I_N_LANGUAGES][N_DEEDS][2] = {
    { { "", "walked to the river" },
      { "", "opened a window" },
      { "", "told a story" },
      { "", "bought fresh bread" },
      { "", "looked at the stars" },
      { "", "wrote a long letter" },
      { "", "listened to the birds" },
      { "", "waited under a tree" } },
    { { "", "走到河边" },
      { "", "打开一扇窗" },
      { "", "讲了一个故事" },
      { "", "买了新鲜的面包" },
      { "", "看着星星" },
      { "", "写了一封长信" },
      { "", "听鸟儿歌唱" },
      { "", "在树下等候" } },
    { { "", "caminó hasta el río" },
      { "", "abrió una ventana" },
      { "", "contó una historia" },
      { "", "compró pan fresco" },
      { "", "miró las estrellas" },
      { "", "escribió una carta larga" },
      { "", "escuchó a los pájaros" },
      { "", "esperó bajo un árbol" } },
    { { "", "marcha jusqu'à la rivière" },
      { "", "ouvrit une fenêtre" },
      { "", "raconta une histoire" },
      { "", "acheta du pain frais" },
      { "", "regarda les étoiles" },
      { "", "écrivit une longue lettre" },
      { "", "écouta les oiseaux" },
      { "", "attendit sous un arbre" } },
    { { "ging", "zum Fluss" },
      { "öffnete", "ein Fenster" },
      { "erzählte", "eine Geschichte" },
      { "kaufte", "frisches Brot" },
      { "betrachtete", "die Sterne" },
      { "schrieb", "einen langen Brief" },
      { "hörte", "den Vögeln zu" },
      { "wartete", "unter einem Baum" } },
};

static void say_filler(r2i_task_draft *d) {
    const int32_t l = d->language;
    const int64_t dice = r2i_draw(d, 0, N_TIMES * N_SUBJECTS * N_DEEDS - 1);
    const char *time = times[l][dice % N_TIMES],
               *subject = subjects[l][dice / N_TIMES % N_SUBJECTS];
    const char *const *deed = deeds[l][dice / N_TIMES / N_SUBJECTS];
    if (l == R2I_ZH)
        r2i_say(d, &d->body, "%s%s%s。", time, subject, deed[1]);
    else
        r2i_say(d, &d->body, "%s %s%s%s %s. ", time, deed[0], l == R2I_DE ? " " : "", subject,
                deed[1]);
}

static void make(r2i_task_draft *d) {
    const int32_t n = d->level > MAX_KEYS ? MAX_KEYS : d->level,
                  bytes = FIRST_BYTES << (d->level - 1);
    const char *names[R2I_N_PEOPLE];
    int32_t codes[MAX_KEYS];
    const int64_t asked = r2i_draw(d, 0, n - 1);
    r2i_draw_people(d, names, n);
    for (int32_t i = 0; i < n; i++) {
        /* Each somewhere in its own part of the text. */
        const size_t from = (size_t)(bytes / n * i),
                     at = from + (size_t)r2i_draw(d, 0, bytes / n - 1);
        codes[i] = (int32_t)r2i_draw_operand(d, 1000, 9999);
        while (d->body.n_bytes < at && d->status == R2_OK)
            say_filler(d);
        r2i_say(d, &d->body, keys[d->language], names[i], codes[i]);
        r2i_key_add(d, codes[i]);
    }
    while (d->body.n_bytes < (size_t)bytes && d->status == R2_OK)
        say_filler(d);
    r2i_key_add(d, asked);
    r2i_fill(d, 0, "%s", names[asked]);
    r2i_think(d, "%s", found[d->language]);
    for (int32_t i = 0; i < n; i++) { /* another's code, or read in a hurry */
        if (n == 1 || codes[i] != codes[asked])
            r2i_doubt(d, "%d", n == 1 ? codes[0] + 1 : codes[i]);
    }
    r2i_think(d, keys[d->language], names[asked], codes[asked]);
    r2i_conclude(d, "%d", codes[asked]);
}

const r2i_task r2i_task_needle = { .name = "needle",
                                   .about = "a number told in a text of 1 to 16 KB",
                                   .n_levels = 5,
                                   .withheld_language = R2I_ES,
                                   .has_values = true,
                                   .kind = R2_GRADE_NUMBER,
                                   .questions = questions,
                                   .make = make };
