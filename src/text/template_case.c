/* Methods of strings that ask for or change the case and kind of letters. */
#include <string.h>
#include <utf8proc.h>

#include "text/template_eval.h"
#include "text/utf8_scan.h"

#define METHOD(name) \
    static bool name(r2i_trun *run, const r2i_tvalue *self, const r2i_tbound *args, r2i_tvalue *out)

/* Characters of the word "a b" so far decide what the next one becomes. */
typedef struct {
    bool in_word; /* the character before had case (title) or was no separator (Jinja) */
    bool at_start;
} case_state;

static bool has_case(uint32_t c) {
    const utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
           category == UTF8PROC_CATEGORY_LT;
}
static bool is_upper(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LU;
}

/* 'u', 'l' or 't': what becomes of character c. */
static char case_of(char how, uint32_t c, case_state *state) {
    char what = how;
    if (how == 'c') what = state->at_start ? 't' : 'l';
    if (how == 's') what = is_upper(c) ? 'l' : 'u';
    if (how == 't') {
        what = state->in_word ? 'l' : 't';
        state->in_word = has_case(c);
    }
    if (how == 'j') { /* Jinja: words begin behind white space and -({[< */
        const bool is_separator =
            r2i_code_is_space(c) || (c < 0x80 && c != 0 && strchr("-({[<", (int)c) != NULL);
        what = state->in_word ? 'l' : 'u';
        state->in_word = !is_separator;
    }
    state->at_start = false;
    return what;
}

bool r2i_template_case(r2i_trun *run, const r2i_tstring *s, char how, r2i_tvalue *out) {
    r2i_tbuilder b;
    r2i_tbuilder_init(&b, run);
    case_state state = { .at_start = true };
    size_t range = 0;
    if (!r2i_trun_work_bytes(run, 8 * s->n_bytes)) return false;
    for (size_t at = 0; at < s->n_bytes;) {
        size_t used;
        char text[4];
        const uint32_t c = r2i_utf8_read(s->bytes + at, s->n_bytes - at, &used);
        const char what = case_of(how, c, &state);
        utf8proc_int32_t changed = (utf8proc_int32_t)c;
        changed = what == 'u'   ? utf8proc_toupper(changed)
                  : what == 't' ? utf8proc_totitle(changed)
                                : utf8proc_tolower(changed);
        while (range < s->n_ranges && s->ranges[range].end <= at)
            range++;
        const bool is_untrusted = range < s->n_ranges && s->ranges[range].begin <= at;
        const bool is_sharp = c == 0xdf && what != 'l'; /* the one common letter that becomes two */
        const size_t n = is_sharp ? 2 : (size_t)r2i_utf8_put(text, changed);
        if (!r2i_tbuilder_add(&b, is_sharp ? (what == 'u' ? "SS" : "Ss") : text, n, is_untrusted))
            return false;
        at += used;
    }
    return r2i_tbuilder_finish(&b, out);
}
METHOD(string_upper) {
    return (void)args, r2i_template_case(run, self->as.string, 'u', out);
}
METHOD(string_lower) {
    return (void)args, r2i_template_case(run, self->as.string, 'l', out);
}
METHOD(string_title) {
    return (void)args, r2i_template_case(run, self->as.string, 't', out);
}
METHOD(string_capitalize) {
    return (void)args, r2i_template_case(run, self->as.string, 'c', out);
}
METHOD(string_swapcase) {
    return (void)args, r2i_template_case(run, self->as.string, 's', out);
}

static bool is_letter(uint32_t c) {
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
static bool is_number(uint32_t c) {
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NO || k == UTF8PROC_CATEGORY_NL;
}
static bool is_decimal(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND;
}
static bool is_letter_or_number(uint32_t c) {
    return is_letter(c) || is_number(c);
}
static bool is_ascii(uint32_t c) {
    return c < 0x80;
}

static bool all_codes(r2i_trun *run, const r2i_tvalue *self, bool (*is)(uint32_t c), bool if_empty,
                      r2i_tvalue *out) {
    const r2i_tstring *s = self->as.string;
    bool all = s->n_bytes != 0 || if_empty;
    for (size_t at = 0, used; at < s->n_bytes && all; at += used) {
        all = is(r2i_utf8_read(s->bytes + at, s->n_bytes - at, &used));
    }
    *out = r2i_tvalue_bool(all);
    return r2i_trun_work_bytes(run, s->n_bytes);
}
METHOD(string_isalpha) {
    return (void)args, all_codes(run, self, is_letter, false, out);
}
METHOD(string_isalnum) {
    return (void)args, all_codes(run, self, is_letter_or_number, false, out);
}
METHOD(string_isdigit) {
    return (void)args, all_codes(run, self, is_decimal, false, out);
}
METHOD(string_isnumeric) {
    return (void)args, all_codes(run, self, is_number, false, out);
}
METHOD(string_isspace) {
    return (void)args, all_codes(run, self, r2i_code_is_space, false, out);
}
METHOD(string_isascii) {
    return (void)args, all_codes(run, self, is_ascii, true, out);
}

static bool all_case(r2i_trun *run, const r2i_tvalue *self, bool upper, r2i_tvalue *out) {
    const r2i_tstring *s = self->as.string;
    bool some = false, all = true;
    for (size_t at = 0, used; at < s->n_bytes && all; at += used) {
        const uint32_t c = r2i_utf8_read(s->bytes + at, s->n_bytes - at, &used);
        if (!has_case(c)) continue;
        some = true;
        all = is_upper(c) == upper;
    }
    *out = r2i_tvalue_bool(some && all);
    return r2i_trun_work_bytes(run, s->n_bytes);
}
METHOD(string_isupper) {
    return (void)args, all_case(run, self, true, out);
}
METHOD(string_islower) {
    return (void)args, all_case(run, self, false, out);
}

const r2i_tfunction *r2i_template_find_case_method(const r2i_tstring *name) {
    static const r2i_tfunction table[] = {
        { "upper", "", 0, string_upper },           { "lower", "", 0, string_lower },
        { "casefold", "", 0, string_lower },        { "title", "", 0, string_title },
        { "capitalize", "", 0, string_capitalize }, { "swapcase", "", 0, string_swapcase },
        { "isalpha", "", 0, string_isalpha },       { "isalnum", "", 0, string_isalnum },
        { "isdigit", "", 0, string_isdigit },       { "isdecimal", "", 0, string_isdigit },
        { "isnumeric", "", 0, string_isnumeric },   { "isspace", "", 0, string_isspace },
        { "isascii", "", 0, string_isascii },       { "isupper", "", 0, string_isupper },
        { "islower", "", 0, string_islower },       { 0 },
    };
    return r2i_tfunction_find(table, name);
}
