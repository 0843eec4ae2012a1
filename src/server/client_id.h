/* client_id.h - who a request is from: whose prefixes it may share, and in whose line it waits. */
#ifndef R2I_CLIENT_ID_H
#define R2I_CLIENT_ID_H
#include <stdint.h>

/* Requests of one API key share prefixes, of one user within it if they name one; keys never do, whatever
 * users they name.  `key`: its number, 0 without keys; `user` may be NULL. */
uint64_t r2i_client_domain(uint64_t key, const char *user);
/* The client is the key; without keys the user, or else the connection. */
uint64_t r2i_client_line(uint64_t key, const char *user, uint64_t connection);
#endif
