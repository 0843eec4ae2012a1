/* command_pending.c - commands that are being written. */
#include "cli/program.h"
int r2i_chat_command(r2i_program *p){(void)p;return 1;}
int r2i_list_command(r2i_program *p){(void)p;return 1;}
int r2i_show_command(r2i_program *p){(void)p;return 1;}
int r2i_tokenize_command(r2i_program *p){(void)p;return 1;}
int r2i_ppl_command(r2i_program *p){(void)p;return 1;}
int r2i_doctor_command(r2i_program *p){(void)p;return 1;}
