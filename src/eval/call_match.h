/* call_match.h - a function call held against the acceptable values of its arguments, as BFCL does. */
#ifndef R2I_CALL_MATCH_H
#define R2I_CALL_MATCH_H
#include <jansson.h>
#include <stdbool.h>

/* Every argument is known and has one of its acceptable values, and those that are left out may be: "" is
 * among theirs.  Texts are compared without case, spaces and the marks , . / - _ * ^; true and 1 are not
 * the same, 5 and 5.0 are. */
bool r2i_arguments_are_acceptable(const json_t *arguments, const json_t *acceptable);
/* The same name, also with _ for each dot. */
bool r2i_is_function_name(const char *found, const char *wanted);
#endif
