/* option_groups.h - flags of a command with many, parted by what they are about and by the
 * subcommands that heed them: in this order help and man page show them. */
#ifndef R2I_OPTION_GROUPS_H
#define R2I_OPTION_GROUPS_H
#include "cli/option_table.h"

typedef struct {
    unsigned command;        /* R2I_FOR_* */
    const char *subcommands; /* parted by spaces, as the flags */
    const char *title;
    const char *flags; /* long names; each of a command's stands in one group at most */
} r2i_option_group;

extern const r2i_option_group r2i_option_group_table[];
extern const size_t r2i_n_option_groups;

/* Whether help of this subcommand shows the group; NULL: of the whole command, which shows all. */
bool r2i_option_group_is_for(const r2i_option_group *group, unsigned command,
                             const char *subcommand);
/* The group of one of a command's flags; NULL: none, any subcommand heeds it. */
const r2i_option_group *r2i_option_group_find(unsigned command, const r2i_option *option);
/* Some group of the command is for this subcommand. */
bool r2i_option_groups_know(unsigned command, const char *subcommand);
#endif
