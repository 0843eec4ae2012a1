#include "task/task_names.h"

const char *const r2i_people[R2I_N_LANGUAGES][R2I_N_PEOPLE] = {
    { "Ann", "Ben", "Cara", "Dan", "Emma", "Finn", "Grace", "Hugh", "Iris", "Jack", "Kate",
      "Liam" },
    { "小明", "小红", "小刚", "小丽", "小华", "小芳", "大伟", "阿强", "阿美", "志远", "雨欣",
      "子涵" },
    { "Ana", "Bruno", "Carmen", "Diego", "Elena", "Félix", "Gloria", "Hugo", "Inés", "Javier",
      "Laura", "Mateo" },
    { "Alice", "Bruno", "Chloé", "Denis", "Élise", "Fabien", "Gabrielle", "Henri", "Inès", "Julien",
      "Karine", "Louis" },
    { "Anna", "Bernd", "Clara", "Dieter", "Eva", "Felix", "Greta", "Hans", "Ida", "Jonas", "Karla",
      "Lukas" },
};
const char *const r2i_things[R2I_N_LANGUAGES][R2I_N_THINGS] = {
    { "apples", "books", "coins", "stamps", "pens", "cards", "shells", "marbles" },
    { "苹果", "书", "硬币", "邮票", "铅笔", "卡片", "贝壳", "弹珠" },
    { "manzanas", "libros", "monedas", "sellos", "plumas", "cartas", "conchas", "canicas" },
    { "pommes", "livres", "pièces", "timbres", "stylos", "cartes", "coquillages", "billes" },
    { "Äpfel", "Bücher", "Münzen", "Marken", "Stifte", "Karten", "Muscheln", "Murmeln" },
};

void r2i_draw_people(r2i_task_draft *d, const char **out, int32_t n) {
    int32_t order[R2I_N_PEOPLE];
    for (int32_t i = 0; i < R2I_N_PEOPLE; i++)
        order[i] = i;
    r2i_draw_order(d, order, R2I_N_PEOPLE);
    for (int32_t i = 0; i < n; i++)
        out[i] = r2i_people[d->language][order[i]];
}
