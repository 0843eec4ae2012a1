/* template_eval.h - running a template's tree: scopes, calls, and the tables of what can be called.
 *
 * As in template_value.h, false means that the run holds an error. */
#ifndef R2I_TEMPLATE_EVAL_H
#define R2I_TEMPLATE_EVAL_H
#include <jansson.h>
#include "text/template_syntax.h"
#include "text/template_text.h"

/* Variables of one scope; the outermost lies above the context and the built-in functions. */
struct r2i_tframe {
    r2i_tframe *parent;
    struct {
        const r2i_tstring *name;
        r2i_tvalue value;
    } * variables; /* [n_variables] */
    size_t n_variables, cap_variables;
};

struct r2i_tloop {
    const r2i_tvalue *items; /* [n_items] */
    size_t n_items, index;
    r2i_tvalue last_changed; /* tuple given to loop.changed(), or undefined */
};

struct r2i_tmacro {
    const r2i_tnode *node;
    r2i_tframe *frame; /* where it was defined */
};

struct r2i_tcycler {
    const r2i_tvalue *items;
    size_t n_items, index;
};
struct r2i_tjoiner {
    const r2i_tstring *separator;
    bool is_used;
};

typedef struct {
    const r2i_tstring *name;
    r2i_tvalue value;
} r2i_tnamed;

typedef struct {
    r2i_tvalue *items; /* [n_items] positional */
    size_t n_items, cap_items;
    r2i_tnamed *named; /* [n_named] */
    size_t n_named, cap_named;
} r2i_targs;

enum { R2I_TEMPLATE_MAX_PARAMETERS = 6 };
/* Arguments put in the order of a function's parameters. */
typedef struct {
    r2i_tvalue v[R2I_TEMPLATE_MAX_PARAMETERS];
    bool has[R2I_TEMPLATE_MAX_PARAMETERS];
    const r2i_targs *all;
} r2i_tbound;

/* A built-in function, method, filter or test (which returns a bool). */
struct r2i_tfunction {
    const char *name;
    const char *parameters; /* names separated by spaces; "*": whatever comes, in `all` */
    size_t n_required;
    bool (*call)(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, r2i_tvalue *out);
};

struct r2i_tmethod {
    r2i_tvalue self;
    const r2i_tfunction *function;
};

typedef enum { R2I_FLOW_ON, R2I_FLOW_BREAK, R2I_FLOW_CONTINUE } r2i_tflow;

bool r2i_template_eval(r2i_trun *run, const r2i_tnode *node, r2i_tvalue *out);
bool r2i_template_exec(r2i_trun *run, const r2i_tnode *node, r2i_tflow *flow);
/* Executes `body` with its output caught as a string. */
bool r2i_template_capture(r2i_trun *run, const r2i_tnode *body, r2i_tflow *flow, r2i_tvalue *out);

bool r2i_tframe_set(r2i_trun *run, const r2i_tstring *name, r2i_tvalue value);
/* Undefined when no scope knows the name. */
bool r2i_tframe_find(r2i_trun *run, const r2i_tstring *name, r2i_tvalue *out);

bool r2i_targs_push_named(r2i_trun *run, r2i_targs *args, const r2i_tstring *name,
                          r2i_tvalue value);
/* Evaluates the arguments written in a call. */
bool r2i_targs_eval(r2i_trun *run, const r2i_tnode *call, r2i_targs *args);

bool r2i_template_call(r2i_trun *run, const r2i_tvalue *callee, const r2i_targs *args,
                       r2i_tvalue *out);
bool r2i_template_call_builtin(r2i_trun *run, const r2i_tfunction *function, const r2i_tvalue *self,
                               const r2i_targs *args, r2i_tvalue *out);
bool r2i_template_filter(r2i_trun *run, const r2i_tstring *name, const r2i_tvalue *self,
                         const r2i_targs *args, r2i_tvalue *out);
bool r2i_template_test(r2i_trun *run, const r2i_tstring *name, const r2i_tvalue *self,
                       const r2i_targs *args, bool *out);
/* object.name and object[key]: undefined when absent. */
bool r2i_template_attribute(r2i_trun *run, const r2i_tvalue *object, const r2i_tstring *name,
                            r2i_tvalue *out);
bool r2i_template_item(r2i_trun *run, const r2i_tvalue *object, const r2i_tvalue *key,
                       r2i_tvalue *out);
/* object[parts[0]:parts[1]:parts[2]]; NONE: left out. */
bool r2i_template_slice(r2i_trun *run, const r2i_tvalue *object, const r2i_tvalue parts[3],
                        r2i_tvalue *out);
/* a op b, for arithmetic. */
bool r2i_template_operate(r2i_trun *run, int op, const r2i_tvalue *a, const r2i_tvalue *b,
                          r2i_tvalue *out);
/* format % arguments. */
bool r2i_template_percent(r2i_trun *run, const r2i_tstring *format, const r2i_tvalue *values,
                          size_t n_values, const r2i_tvalue *mapping, r2i_tvalue *out);

/* NULL when there is none. */
const r2i_tfunction *r2i_template_find_method(const r2i_tvalue *object, const r2i_tstring *name);
const r2i_tfunction *r2i_template_find_string_method(const r2i_tstring *name);
const r2i_tfunction *r2i_template_find_case_method(const r2i_tstring *name);
const r2i_tfunction *r2i_template_find_function(const r2i_tstring *name);
const r2i_tfunction *r2i_template_find_text_filter(const r2i_tstring *name);
const r2i_tfunction *r2i_template_find_list_filter(const r2i_tstring *name);
/* Row of a table that ends with a NULL name. */
const r2i_tfunction *r2i_tfunction_find(const r2i_tfunction *table, const r2i_tstring *name);

/* A copy of `json`, whose strings (keys included) are untrusted if is_untrusted says so. */
bool r2i_tvalue_from_json(r2i_trun *run, json_t *json, bool is_untrusted, r2i_tvalue *out);
/* Upper or lower case of a string; 't' as Python's str.title, 'c' as str.capitalize, 's' swapped,
 * 'j' as Jinja's title filter. */
bool r2i_template_case(r2i_trun *run, const r2i_tstring *s, char how, r2i_tvalue *out);

/* Argument access for built-ins: absent arguments give the fallback. */
bool r2i_tbound_int(r2i_trun *run, const r2i_tbound *args, size_t i, int64_t fallback,
                    int64_t *out);
/* NULL when absent or none; otherwise it must be a string. */
bool r2i_tbound_string(r2i_trun *run, const r2i_tbound *args, size_t i, const r2i_tstring **out);
bool r2i_tbound_truth(const r2i_tbound *args, size_t i);
#endif
