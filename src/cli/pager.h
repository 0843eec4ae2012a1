/* pager.h - long text on a terminal. */
#ifndef R2I_PAGER_H
#define R2I_PAGER_H
#include <stdbool.h>

/* Runs a program and feeds it what `print` writes to standard output.  False: there is no such
 * program, nothing was shown. */
bool r2i_pager_show(const char *const *arguments, void (*print)(const void *what),
                    const void *what);
#endif
