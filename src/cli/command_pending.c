/* command_pending.c - commands that are being written. */
#include "cli/program.h"
int r2i_chat_command(r2i_program *p){(void)p;return 1;}
