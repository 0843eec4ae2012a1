/* task_grid.c - the length of the shortest way through a grid with walls, found in waves from the start. */
#include "task/task_draft.h"

enum { MAX_SIDE = 8, MAX_CELLS = MAX_SIDE * MAX_SIDE, WALL_IN = 4 };

static const char *const questions[R2I_N_LANGUAGES][R2I_QUESTIONS] = {
    { "How many steps has the shortest way from S to G? # is a wall; steps go up, down, left, "
      "right.",
      "Find the length of the shortest path from S to G, without diagonals, around the walls #.",
      "A robot goes from S to G, never through #, never diagonally. How many steps does it need?" },
    { "从 S 到 G 最短要走几步？# 是墙；每步上、下、左、右。",
      "求 S 到 G 的最短路径长度，不走对角，绕开墙 #。",
      "机器人从 S 到 G，不穿过 #，不走对角。需要几步？" },
    { "¿Cuántos pasos tiene el camino más corto de S a G? # es un muro; se va arriba, abajo, "
      "izquierda, "
      "derecha.",
      "Halla la longitud del camino más corto de S a G, sin diagonales y sin pasar por los muros "
      "#.",
      "Un robot va de S a G, nunca por # ni en diagonal. ¿Cuántos pasos necesita?" },
    { "Combien de pas compte le plus court chemin de S à G ? # est un mur ; on va en haut, en bas, "
      "à "
      "gauche, à droite.",
      "Trouve la longueur du plus court chemin de S à G, sans diagonales, sans passer les murs #.",
      "Un robot va de S à G, jamais par # ni en diagonale. Combien de pas lui faut-il ?" },
    { "Wie viele Schritte hat der kürzeste Weg von S nach G? # ist eine Wand; man geht hoch, "
      "runter, "
      "links, rechts.",
      "Finde die Länge des kürzesten Wegs von S nach G, ohne Diagonalen, um die Wände # herum.",
      "Ein Roboter geht von S nach G, nie durch # und nie schräg. Wie viele Schritte braucht er?" },
};
static const char *const said[R2I_N_LANGUAGES] = { "after step", "步", "paso", "étape",
                                                   "nach Schritt" };

typedef struct {
    int32_t side;
    char cells[MAX_CELLS];
    int32_t distance[MAX_CELLS]; /* -1: not reached */
} grid;

/* Cells at distance n + 1; how many they are. */
static int32_t spread(grid *g, int32_t n) {
    static const int8_t across[] = { 0, 0, -1, 1 }, down[] = { -1, 1, 0, 0 };
    const int32_t s = g->side;
    int32_t n_new = 0;
    for (int32_t i = 0; i < s * s; i++) {
        for (int k = 0; g->distance[i] == n && k < 4; k++) {
            const int32_t x = i % s + across[k], y = i / s + down[k], to = y * s + x;
            if (x < 0 || y < 0 || x >= s || y >= s || g->cells[to] == '#' || g->distance[to] >= 0)
                continue;
            g->distance[to] = n + 1;
            n_new++;
        }
    }
    return n_new;
}

/* False: no way. */
static bool draw_grid(r2i_task_draft *d, grid *g, int32_t *goal) {
    const int32_t n = g->side * g->side;
    const int32_t start = (int32_t)r2i_draw(d, 0, n - 1);
    *goal = (start + (int32_t)r2i_draw(d, 1, n - 1)) % n;
    for (int32_t i = 0; i < n; i++) {
        g->cells[i] = r2i_draw_once_in(d, WALL_IN) ? '#' : '.';
        g->distance[i] = -1;
    }
    g->cells[start] = 'S';
    g->cells[*goal] = 'G';
    g->distance[start] = 0;
    for (int32_t wave = 0; spread(g, wave) > 0;)
        wave++;
    return g->distance[*goal] > 1;
}

static void make(r2i_task_draft *d) {
    grid g = { .side = d->level + 2 };
    const int32_t s = g.side;
    int32_t goal;
    while (!draw_grid(d, &g, &goal))
        continue;
    for (int32_t y = 0; y < s; y++)
        r2i_say(d, &d->body, "%s%.*s", y > 0 ? "\n" : "", (int)s, g.cells + y * s);
    r2i_key_add_text(d, d->body.bytes);
    for (int32_t wave = 1; wave <= g.distance[goal]; wave++) {
        r2i_think(d, "%s %d: ", said[d->language], wave);
        for (int32_t i = 0; i < s * s; i++) { /* where it has been, or a wall */
            if (g.distance[i] == wave - 2) r2i_doubt(d, "%d,%d", i / s + 1, i % s + 1);
        }
        bool is_first = true;
        for (int32_t i = 0; i < s * s; i++) {
            if (g.distance[i] != wave) continue;
            r2i_think(d, "%s%s%d,%d", is_first ? "" : " ", i == goal ? "G " : "", i / s + 1,
                      i % s + 1);
            is_first = false;
        }
        r2i_think(d, "\n");
    }
    r2i_conclude(d, "%d", g.distance[goal]);
}

const r2i_task r2i_task_grid = { .name = "grid",
                                 .about = "the shortest way through a grid of 3x3 to 7x7",
                                 .n_levels = 5,
                                 .withheld_language = R2I_FR,
                                 .kind = R2_GRADE_NUMBER,
                                 .questions = questions,
                                 .make = make };
