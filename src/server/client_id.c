#include "server/client_id.h"

#include <stddef.h>
#include <string.h>

#include "base/hash.h"

enum { USER_BITS = 48 };

static const uint64_t user_mask = ((uint64_t)1 << USER_BITS) - 1;

/* 0: none. */
static uint64_t hash_user(const char *user) {
    if (user == NULL || user[0] == '\0') return 0;
    const uint64_t hash = r2i_hash_bytes(R2I_HASH_SEED, user, strlen(user));
    return (r2i_hash_mix(hash) & user_mask) | 1;
}

/* The key has bits of its own: no name of a user leads to another key's pages. */
uint64_t r2i_client_domain(uint64_t key, const char *user) {
    return key << USER_BITS | hash_user(user);
}

uint64_t r2i_client_line(uint64_t key, const char *user, uint64_t connection) {
    if (key > 0) return key << USER_BITS;
    return hash_user(user) != 0 ? hash_user(user) : connection << 1;
}
