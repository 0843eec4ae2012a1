/* option_names.h - rows of the option table by what they are called: flags, letters, variables. */
#ifndef R2I_OPTION_NAMES_H
#define R2I_OPTION_NAMES_H
#include "cli/option_table.h"

/* The row that a command knows under this long name, alias or letter; NULL: none. */
const r2i_option *r2i_option_find(unsigned command, const char *name, size_t n_bytes);
const r2i_option *r2i_option_find_letter(unsigned command, char letter);
/* "R2LM_TOP_K" for "top-k"; writes at most cap bytes. */
void r2i_option_env_name(const char *name, char *out, size_t cap);
/* "-m, --model MODEL" and the like, as help and man page show it. */
void r2i_option_print_name(const r2i_option *option, char *out, size_t cap);
#endif
