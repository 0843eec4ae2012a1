/* man_page.h - the man page, written from the tables of commands and options. */
#ifndef R2I_MAN_PAGE_H
#define R2I_MAN_PAGE_H
#include "cli/program.h"

/* Writes roff to standard output: of one command, or of the whole program when it is NULL. */
void r2i_man_print(const r2i_command *command);
#endif
