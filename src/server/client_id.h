/* client_id.h - who a request is from: whose prefixes it may share, and in whose line it waits. */
#ifndef R2I_CLIENT_ID_H
#define R2I_CLIENT_ID_H
#include <stdint.h>

enum { R2I_SALT_BYTES = 16 };

/* Makes names of users into numbers; different in every run, so that nobody can look for a name whose
 * number is another user's. */
typedef struct {
    unsigned char bytes[R2I_SALT_BYTES];
} r2i_client_salt;

void r2i_client_salt_make(r2i_client_salt *out);
/* Requests of one API key share prefixes, of one user within it if they name one; keys never do, whatever
 * users they name.  `key`: its number, 0 without keys; `user` may be NULL. */
uint64_t r2i_client_domain(const r2i_client_salt *salt, uint64_t key, const char *user);
/* The client is the key; without keys the user, or else the connection. */
uint64_t r2i_client_line(const r2i_client_salt *salt, uint64_t key, const char *user,
                         uint64_t connection);
#endif
