/* grammar_regex.h - the part of regular expressions that is regular and means the same everywhere.
 *
 * Characters, ., classes, \d \w \s and their opposites (of ASCII characters, which keeps texts valid
 * under every reading), groups, |, * + ? {m,n} (also lazy: which match is found does not matter), ^ and
 * $ at the ends.  Not there: look-around, back-references, \b, \p, flags. */
#ifndef R2I_GRAMMAR_REGEX_H
#define R2I_GRAMMAR_REGEX_H
#include "text/grammar_expression.h"

enum {
    R2I_REGEX_SEARCH = 1, /* it may match anywhere inside; otherwise it is the whole text */
    R2I_REGEX_JSON = 2    /* of the content of a JSON string: what must be escaped is */
};

/* R2_E_FORMAT, R2_E_UNSUPPORTED: "regex: character 5: ..."; R2_E_LIMIT, R2_E_NOMEM. */
R2_CHECKED r2_status r2i_regex_expression(r2i_expression **out, r2i_grammar_draft *draft,
                                          const char *pattern, size_t n_bytes, unsigned flags,
                                          r2_error *err);
/* As the whole of a draft. */
R2_CHECKED r2_status r2i_regex_read(r2i_grammar_draft *draft, const char *pattern, size_t n_bytes,
                                    r2_error *err);
#endif
