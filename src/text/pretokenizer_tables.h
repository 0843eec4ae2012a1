/* pretokenizer_tables.h - the built-in patterns and the names of the schemes made of them. */
#ifndef R2I_PRETOKENIZER_TABLES_H
#define R2I_PRETOKENIZER_TABLES_H
#include "text/pretokenizer.h"

typedef struct {
    const char *published; /* as tokenizer.json files write it */
    const char *compiled;  /* the same for PCRE2; NULL: as published */
    bool covers_all;       /* matches at every place of every text: may be anchored */
} r2i_pattern_row;

typedef struct {
    const char *name; /* tokenizer.ggml.pre */
    r2i_scheme scheme;
} r2i_scheme_row;

/* Further published spellings of a pattern. */
typedef struct {
    const char *published;
    r2i_pattern pattern;
} r2i_pattern_alias;

extern const r2i_pattern_row r2i_pattern_rows[R2I_N_PATTERNS];
extern const r2i_scheme_row r2i_scheme_rows[];
extern const size_t r2i_n_scheme_rows;
extern const r2i_pattern_alias r2i_pattern_aliases[];
extern const size_t r2i_n_pattern_aliases;
#endif
