/* task_draft.h - one instance of a task while it is being made: numbers drawn, texts filled in.
 *
 * Whatever an instance draws is a function of (seed, place), so any of them can be made again alone. */
#ifndef R2I_TASK_DRAFT_H
#define R2I_TASK_DRAFT_H
#include "base/buffer.h"
#include "r2lm/task.h"

enum { R2I_EN, R2I_ZH, R2I_ES, R2I_FR, R2I_DE, R2I_N_LANGUAGES };
enum {
    R2I_QUESTIONS = 3,     /* ways to ask, the last of which is not taught */
    R2I_TAUGHT_FRAMES = 4, /* words around a question; those behind are not taught */
    R2I_WITHHELD_FRAMES = 2,
    R2I_MAX_FILLS = 6,
    R2I_FILL_BYTES = 512
};

/* "en", "zh" ...; task_split.c */
extern const char *const r2i_language_names[R2I_N_LANGUAGES];

typedef struct {
    int32_t level;    /* 1 to n_levels; n_levels + 1: longer than any that is taught */
    int32_t language; /* R2I_EN ... */
    r2_task_split split;
    uint64_t seed, place, n_drawn;
    bool has_withheld; /* one of its numbers is never taught */
    bool errs;         /* there is a wrong try in the trace */
    uint64_t n_doubts; /* places where it could stand; the one drawn so far: */
    size_t doubt_at;
    char doubt[R2I_FILL_BYTES]; /* "": none */
    r2i_buffer prompt, trace, answer, reply;
    r2i_buffer
        body; /* lines below the question: a program, a text, a list of tools; may be empty */
    r2i_buffer expected;                       /* for the judge; empty when the answer is */
    char fills[R2I_MAX_FILLS][R2I_FILL_BYTES]; /* what {0}, {1} ... of the prompt become */
    uint64_t key; /* of what the instance is about, whatever its words */
    r2_error *err;
    r2_status status; /* of the first thing that failed */
} r2i_task_draft;

/* A whole number from low to high, each as likely. */
int64_t r2i_draw(r2i_task_draft *d, int64_t low, int64_t high);
/* The same of what a question is about; task_split.c keeps some numbers from all that is taught. */
int64_t r2i_draw_operand(r2i_task_draft *d, int64_t low, int64_t high);
/* An operand that was come by in another way, or that is no number. */
void r2i_note_operand(r2i_task_draft *d, int64_t value);
void r2i_note_withheld(r2i_task_draft *d, bool is_withheld);
/* True once in n times. */
bool r2i_draw_once_in(r2i_task_draft *d, int32_t n);
/* Any order of n numbers. */
void r2i_draw_order(r2i_task_draft *d, int32_t *numbers, int32_t n);
/* Adds to the key: what makes two instances the same. */
void r2i_key_add(r2i_task_draft *d, int64_t value);
void r2i_key_add_text(r2i_task_draft *d, const char *text);
/* Sets {i} of the question. */
void r2i_fill(r2i_task_draft *d, int i, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Appends to a text of the draft. */
void r2i_say(r2i_task_draft *d, r2i_buffer *to, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void r2i_say_all(r2i_task_draft *d, r2i_buffer *to, const r2i_buffer *from);
/* The same to trace and answer. */
void r2i_think(r2i_task_draft *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
void r2i_conclude(r2i_task_draft *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Here the trace may hold a wrong try, taken back at once: "54? no, " before what is right.  One instance of
 * five has one, at any of its places.  Draws nothing of what the instance is. */
void r2i_doubt(r2i_task_draft *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Before all of them, and behind: the wrong try is put where it was drawn to be. */
void r2i_begin_doubt(r2i_task_draft *d);
void r2i_settle_doubt(r2i_task_draft *d);
/* Appends a phrase whose {0}, {1} ... are the draft's fills. */
void r2i_say_filled(r2i_task_draft *d, r2i_buffer *to, const char *phrase);

typedef struct {
    const char *name, *about;
    int32_t n_levels;
    r2_grade_kind kind;
    int32_t withheld_language; /* in which it is never taught; R2I_EN: taught in all */
    bool has_values;           /* notes its operands */
    const char *const (*questions)[R2I_QUESTIONS]; /* [R2I_N_LANGUAGES] */
    /* Draws an instance of draft->level: fills, key, trace, answer. */
    void (*make)(r2i_task_draft *draft);
    /* Judges what was found as an answer where several are right; NULL: compared with expected. */
    bool (*is_right)(const char *expected, const char *answer, size_t n_answer);
    /* Judges what `kind` finds wrong once more; NULL: wrong it is. */
    bool (*is_also_right)(const char *expected, const char *answer, size_t n_answer);
} r2i_task;

/* All of them; task_table.c. */
extern const r2i_task *const r2i_tasks[];
extern const int32_t r2i_n_tasks;
/* NULL: no such task. */
const r2i_task *r2i_task_find(const char *name);
const r2i_task *r2i_task_at(int32_t i);

extern const r2i_task r2i_task_sum, r2i_task_multiply, r2i_task_divide, r2i_task_gcd,
    r2i_task_expression, r2i_task_countdown, r2i_task_equation, r2i_task_story, r2i_task_numeral,
    r2i_task_days, r2i_task_weekday, r2i_task_boolean, r2i_task_knights, r2i_task_order,
    r2i_task_sort, r2i_task_lists, r2i_task_letters, r2i_task_output, r2i_task_function,
    r2i_task_repair, r2i_task_print, r2i_task_needle, r2i_task_grid, r2i_task_tool;
#endif
