/* template_value.h - the values that a chat template computes with, and the state of one rendering.
 *
 * Values behave as Python's do (repr, equality, order, truth), because templates are written for
 * Python.  Everything lives in the arena of the rendering and is never freed alone.  A string knows
 * which of its bytes came from message content: `ranges`, kept through every operation.
 *
 * Functions returning bool return false after recording an error in the run; the caller only
 * passes it on.  Work is charged to the run, so that any template ends soon. */
#ifndef R2I_TEMPLATE_VALUE_H
#define R2I_TEMPLATE_VALUE_H
#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "text/text_range.h"

enum {
    R2I_TEMPLATE_MAX_SOURCE_BYTES = 256 * 1024,
    R2I_TEMPLATE_MAX_TEXT_BYTES = 4 * 1024 * 1024, /* of any string, the output included */
    R2I_TEMPLATE_MAX_STEPS = 1000000,              /* nodes, elements, 64-byte pieces of text */
    R2I_TEMPLATE_MAX_NESTING = 64,                 /* of source, and of macro calls */
    R2I_TEMPLATE_MAX_DEPTH = 400,                  /* of C recursion while rendering */
    R2I_TEMPLATE_MAX_RANGE = 100000,               /* as the Python sandbox */
    R2I_TEMPLATE_MAX_MEMORY_BYTES = 64 * 1024 * 1024
};

typedef enum {
    R2I_TV_UNDEFINED,
    R2I_TV_NONE,
    R2I_TV_BOOL,
    R2I_TV_INT,
    R2I_TV_FLOAT,
    R2I_TV_STRING,
    R2I_TV_SEQUENCE,
    R2I_TV_DICT,
    R2I_TV_NAMESPACE, /* uses `dict` */
    R2I_TV_LOOP,
    R2I_TV_MACRO,
    R2I_TV_FUNCTION,
    R2I_TV_METHOD,
    R2I_TV_CYCLER,
    R2I_TV_JOINER
} r2i_tkind;

typedef enum {
    R2I_TS_LIST,
    R2I_TS_TUPLE,
    R2I_TS_RANGE,
    R2I_TS_KEYS, /* the three views of a dict */
    R2I_TS_VALUES,
    R2I_TS_ITEMS,
    R2I_TS_GENERATOR /* can be read once; has no length */
} r2i_tflavor;

typedef struct {
    const char *bytes; /* UTF-8, not terminated */
    size_t n_bytes;
    const r2i_text_range *ranges; /* [n_ranges] bytes of untrusted origin */
    size_t n_ranges;
    bool is_markup; /* already escaped for HTML */
} r2i_tstring;

typedef struct r2i_tsequence r2i_tsequence;
typedef struct r2i_tdict r2i_tdict;
typedef struct r2i_tloop r2i_tloop;
typedef struct r2i_tmacro r2i_tmacro;
typedef struct r2i_tmethod r2i_tmethod;
typedef struct r2i_tcycler r2i_tcycler;
typedef struct r2i_tjoiner r2i_tjoiner;
typedef struct r2i_tfunction r2i_tfunction;

typedef struct {
    r2i_tkind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        const r2i_tstring *string; /* of UNDEFINED: its name, or NULL */
        r2i_tsequence *sequence;
        r2i_tdict *dict;
        r2i_tloop *loop;
        const r2i_tmacro *macro;
        const r2i_tfunction *function;
        const r2i_tmethod *method;
        r2i_tcycler *cycler;
        r2i_tjoiner *joiner;
    } as;
} r2i_tvalue;

struct r2i_tsequence {
    r2i_tflavor flavor;
    r2i_tvalue *items; /* [n_items] */
    size_t n_items, cap_items;
    int64_t start, stop, step; /* of a range, for its repr */
};

typedef struct {
    r2i_tvalue key, value;
} r2i_tentry;

struct r2i_tdict {
    r2i_tentry *entries; /* [n_entries] in order of insertion, keys distinct */
    size_t n_entries, cap_entries;
    const r2i_tstring *source; /* the JSON it was read from, which tojson repeats; or NULL */
};

typedef struct r2i_tframe r2i_tframe;
typedef struct r2i_tbuilder r2i_tbuilder;

/* One rendering. */
typedef struct {
    r2i_arena *arena;
    r2_error *err;
    r2_status status; /* of the first failure */
    int32_t line;     /* being executed */
    size_t n_steps;
    int32_t n_depth, n_macros;
    r2i_tframe *frame; /* innermost scope */
    r2i_tbuilder *out; /* where output goes: the text or a captured block */
    const r2i_tdict *context;
    int64_t now_seconds; /* what strftime_now shows */
} r2i_trun;

/* Records the first error, prefixed with the template's line; always false. */
bool r2i_trun_fail(r2i_trun *run, r2_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* False when the step limit is reached. */
bool r2i_trun_work(r2i_trun *run, size_t n_units);
bool r2i_trun_work_bytes(r2i_trun *run, size_t n_bytes);
/* Around recursion; after a false enter no leave. */
bool r2i_trun_enter(r2i_trun *run);
void r2i_trun_leave(r2i_trun *run);
/* Zeroed memory of n elements; NULL after recording the failure. */
void *r2i_trun_take(r2i_trun *run, size_t n, size_t element_bytes);

static inline r2i_tvalue r2i_tvalue_none(void) {
    return (r2i_tvalue){ .kind = R2I_TV_NONE };
}
static inline r2i_tvalue r2i_tvalue_bool(bool b) {
    return (r2i_tvalue){ .kind = R2I_TV_BOOL, .as.boolean = b };
}
static inline r2i_tvalue r2i_tvalue_int(int64_t i) {
    return (r2i_tvalue){ .kind = R2I_TV_INT, .as.integer = i };
}
static inline r2i_tvalue r2i_tvalue_float(double d) {
    return (r2i_tvalue){ .kind = R2I_TV_FLOAT, .as.real = d };
}
static inline r2i_tvalue r2i_tvalue_string(const r2i_tstring *s) {
    return (r2i_tvalue){ .kind = R2I_TV_STRING, .as.string = s };
}
static inline r2i_tvalue r2i_tvalue_undefined(const r2i_tstring *name) {
    return (r2i_tvalue){ .kind = R2I_TV_UNDEFINED, .as.string = name };
}
static inline bool r2i_tvalue_is_list(const r2i_tvalue *v, r2i_tflavor flavor) {
    return v->kind == R2I_TV_SEQUENCE && v->as.sequence->flavor == flavor;
}

/* A new empty sequence with room for `cap` items. */
bool r2i_tsequence_create(r2i_trun *run, r2i_tflavor flavor, size_t cap, r2i_tvalue *out);
bool r2i_tsequence_push(r2i_trun *run, r2i_tsequence *sequence, r2i_tvalue item);
/* The two-element tuple (a, b). */
bool r2i_tsequence_pair(r2i_trun *run, r2i_tvalue a, r2i_tvalue b, r2i_tvalue *out);

bool r2i_tdict_create(r2i_trun *run, r2i_tkind kind, r2i_tvalue *out);
/* *found is NULL when the key is absent.  Fails for a key that Python could not hash. */
bool r2i_tdict_find(r2i_trun *run, const r2i_tdict *dict, const r2i_tvalue *key,
                    r2i_tvalue **found);
bool r2i_tdict_set(r2i_trun *run, r2i_tdict *dict, r2i_tvalue key, r2i_tvalue value);

/* "str", "int", ... as in Python's messages. */
const char *r2i_tvalue_type_name(const r2i_tvalue *v);
bool r2i_tvalue_truth(const r2i_tvalue *v);
/* Integer value of an int or bool. */
bool r2i_tvalue_as_int(const r2i_tvalue *v, int64_t *out);
/* Number as double: int, bool or float. */
bool r2i_tvalue_as_float(const r2i_tvalue *v, double *out);
bool r2i_tvalue_equal(r2i_trun *run, const r2i_tvalue *a, const r2i_tvalue *b, bool *equal);
/* *order < 0, 0, > 0; fails for values without order.  A NaN compares as 2: none of them. */
bool r2i_tvalue_order(r2i_trun *run, const r2i_tvalue *a, const r2i_tvalue *b, int *order);
bool r2i_tvalue_contains(r2i_trun *run, const r2i_tvalue *box, const r2i_tvalue *item, bool *found);
/* Python's len(). */
bool r2i_tvalue_length(r2i_trun *run, const r2i_tvalue *v, size_t *n);
/* The items that a loop over v sees; generators are used up.  *items lives as long as the run. */
bool r2i_tvalue_iterate(r2i_trun *run, const r2i_tvalue *v, const r2i_tvalue **items, size_t *n);
/* Fails with "'x' is undefined" when v is undefined. */
bool r2i_tvalue_require(r2i_trun *run, const r2i_tvalue *v);
#endif
